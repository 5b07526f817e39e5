# SPDX-License-Identifier: Apache-2.0
"""Energy of machines that are made up: their /sys, and a driver for their GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from machine_tree import FakeNvml, Tree
from stf_infer.bench import energy, nvml, sensors
from stf_infer.bench.energy import Counter, Meter, Power


@pytest.fixture
def tree(tmp_path) -> Tree:
    return Tree(tmp_path)


def rapl(tree, zone, name, microjoules, full=262143328850):
    tree.write(f"sys/class/powercap/{zone}", name=name, energy_uj=microjoules, max_energy_range_uj=full)


def meter(tree, gpus=(), **more):
    return Meter(tree.root, gpus, **more)


def test_packages_and_memory_count_and_cores_do_not_count_twice(tree):
    zones = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram", "intel-rapl:1": "psys"}
    zones |= {"intel-rapl-mmio:0": "package-0"}
    for zone, name in zones.items():
        rapl(tree, zone, name, 1_000_000)
    with meter(tree) as watched:
        for number, (zone, name) in enumerate(zones.items()):
            rapl(tree, zone, name, 1_000_000 * (2 + number))
    found = watched.energy(500_000)
    assert found.joules == pytest.approx({"package-0": 1.0, "package-0 dram": 3.0})
    assert found.joules_a_megapixel == pytest.approx(8.0)
    assert found.note == "package-0, package-0 dram (RAPL): the whole machine while the run went on"


def test_the_platform_is_taken_where_there_is_nothing_else(tree):
    rapl(tree, "intel-rapl:0", "psys", 5_000_000)
    with meter(tree) as watched:
        rapl(tree, "intel-rapl:0", "psys", 9_000_000)
    assert watched.energy(1_000_000).joules == pytest.approx({"psys": 4.0})


def test_a_counter_that_is_full_begins_again(tree):
    rapl(tree, "intel-rapl:0", "package-0", 9_000_000, full=10_000_000)
    with meter(tree) as watched:
        rapl(tree, "intel-rapl:0", "package-0", 2_500_000, full=10_000_000)
    assert watched.energy(1_000_000).joules == pytest.approx({"package-0": 3.5})


def test_a_counter_is_looked_at_before_it_can_be_full_twice(tree, monkeypatch):
    monkeypatch.setattr(energy, "_SELDOM", 0.01)
    readings = iter([9.0, 2.0, 8.0, 1.0])
    counter = Counter("package-0", "RAPL", lambda: next(readings), 10.0)
    for _ in range(3):
        counter.look()
    assert counter.joules == pytest.approx(3 + 6 + 3)


def test_counters_of_root_alone_say_so(tree, monkeypatch):
    rapl(tree, "intel-rapl:0", "package-0", 1)
    read_text = Path.read_text

    def refuse(path, *given, **more):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read_text(path, *given, **more)

    monkeypatch.setattr(sensors.Path, "read_text", refuse)
    with meter(tree) as watched:
        pass
    found = watched.energy(10)
    assert found.joules == {}
    assert found.joules_a_megapixel is None
    assert found.note.startswith("not readable: ")
    assert "intel-rapl:0/energy_uj can be read by root alone" in found.note


def test_a_machine_that_counts_nothing_says_so(tree):
    with meter(tree) as watched:
        pass
    found = watched.energy(10)
    assert found.joules_a_megapixel is None
    assert "no energy counters of the processor (RAPL" in found.note
    assert "no NVIDIA driver" in found.note


def test_gpus_count_beside_the_processor(tree):
    rapl(tree, "intel-rapl:0", "package-0", 0)
    driver = FakeNvml(2, millijoules=[1_000, 50_000])
    with meter(tree, list(nvml.gpus(driver))) as watched:
        rapl(tree, "intel-rapl:0", "package-0", 1_000_000)
        driver.millijoules = [3_000, 50_500]
    found = watched.energy(2_000_000)
    assert found.joules == pytest.approx({"package-0": 1.0, "gpu-0 Fake GPU": 2.0, "gpu-1 Fake GPU": 0.5})
    assert found.joules_a_megapixel == pytest.approx(1.75)
    assert "gpu-0 Fake GPU, gpu-1 Fake GPU (NVML)" in found.note


def test_a_gpu_alone_is_read_and_what_is_missing_is_said(tree):
    driver = FakeNvml(1, millijoules=[0])
    with meter(tree, list(nvml.gpus(driver))) as watched:
        driver.millijoules = [2_000]
    found = watched.energy(1_000_000)
    assert found.joules == pytest.approx({"gpu-0 Fake GPU": 2.0})
    assert "no energy counters of the processor" in found.note


def test_a_gpu_that_does_not_count_is_left_out(tree):
    with meter(tree, list(nvml.gpus(FakeNvml(1, millijoules=None)))) as watched:
        pass
    assert watched.energy(1).joules == {}


def test_watts_are_summed_up_as_trapezoids():
    now, watts = [0.0], [10.0]
    sensor = Power("VDD_IN", lambda: watts[0], lambda: now[0])
    for at, power in ((1.0, 20.0), (3.0, 20.0), (3.5, 0.0)):
        now[0], watts[0] = at, power
        sensor.look()
    assert sensor.joules == pytest.approx(15 + 40 + 5)


def test_a_reading_that_fails_is_bridged():
    now, watts = [0.0], [10.0]
    sensor = Power("VDD_IN", lambda: watts[0], lambda: now[0])
    for at, power in ((1.0, None), (2.0, 10.0)):
        now[0], watts[0] = at, power
        sensor.look()
    assert sensor.joules == pytest.approx(20)


def board(tree, *, with_input):
    """An INA3221 as Linux shows it: bus voltages, shunt voltages behind them, currents."""
    labels = ["VDD_IN" if with_input else "VDD_GPU_SOC", "VDD_CPU_CV", "NC"]
    files = {f"in{n}_label": label for n, label in enumerate(labels, 1)}
    files |= {"in1_input": 5000, "in2_input": 5000, "in3_input": 5000, "in4_input": 3, "in5_input": 1}
    files |= {"curr1_input": 2000, "curr2_input": 500, "curr3_input": 900}
    tree.write("sys/class/hwmon/hwmon3", name="ina3221", **files)
    tree.write("sys/class/hwmon/hwmon0", name="coretemp", power1_input=99_000_000)


def test_a_board_is_read_at_its_input_or_rail_by_rail(tree):
    board(tree, with_input=True)
    seconds = iter(range(0, 1000, 2))
    with meter(tree, clock=lambda: float(next(seconds))) as watched:
        pass
    found = watched.energy(1_000_000)
    assert list(found.joules) == ["VDD_IN"]
    assert found.joules["VDD_IN"] % 20 == pytest.approx(0)  # 10 W, and 2 s a look
    assert found.joules["VDD_IN"] >= 20

    board(tree, with_input=False)
    with meter(tree, clock=lambda: 0.0) as watched:
        pass
    assert list(watched.energy(1).joules) == ["VDD_GPU_SOC", "VDD_CPU_CV"]


def test_sensors_that_tell_watts_and_those_of_older_boards(tree):
    tree.write("sys/class/hwmon/hwmon1", name="ina226", power1_input=7_000_000, power1_label="5V")
    tree.write(
        "sys/bus/i2c/drivers/ina3221x/1-0040/iio:device0", in_power0_input=4000, rail_name_0="CPU", rail_name_1="NC"
    )
    tree.write("sys/bus/i2c/drivers/ina3221x/1-0040/iio:device0", in_power1_input=4000)
    rails = {**energy._rails_of_iio(tree.root), **energy._rails_of_hwmon(tree.root)}
    assert {name: read() for name, read in rails.items()} == pytest.approx({"CPU": 4.0, "5V": 7.0})


def test_a_board_is_looked_at_while_the_run_goes_on(tree, monkeypatch):
    import time

    board(tree, with_input=True)
    monkeypatch.setattr(energy, "_OFTEN", 0.005)
    began = time.monotonic()
    with meter(tree) as watched:
        time.sleep(0.1)
    assert 0 < watched.energy(1).joules["VDD_IN"] <= 10 * (time.monotonic() - began)
