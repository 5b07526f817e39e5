# SPDX-License-Identifier: Apache-2.0
"""What is read of machines that are made up, and when a person is warned."""

from __future__ import annotations

import time

import numpy as np
import pytest

from machine_tree import FakeNvml, Tree
from stf_infer.bench import activity, environment, nvml, sensors, watch
from stf_infer.bench.activity import Moment
from stf_infer.bench.environment import Environment
from stf_infer.bench.latency import distribution
from stf_infer.bench.result import Latency, Row
from stf_infer.bench.watch import Watch

CPU = "sys/devices/system/cpu"


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Tree:
    monkeypatch.setattr(environment, "_LOOK", 0.0)
    return Tree(tmp_path)


def stat(tree, *, user=0, idle=0, iowait=0, steal=0):
    """``/proc/stat`` in hundredths of a second, as most kernels count."""
    tree.write("proc", stat=f"cpu  {user} 0 0 {idle} {iowait} 0 0 {steal} 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0\nintr 5")


# Sensors -------------------------------------------------------------------------------------------------------------


def test_a_machine_that_tells_everything(tree):
    for core, kilohertz in enumerate((3_000_000, 2_000_000, 1_000_000)):
        tree.write(f"{CPU}/cpu{core}/cpufreq", scaling_cur_freq=kilohertz)
        tree.write(f"{CPU}/cpu{core}/thermal_throttle", core_throttle_count=core, package_throttle_count=1)
        tree.write(f"{CPU}/cpufreq/policy{core}", scaling_governor="schedutil", scaling_driver="intel_pstate")
        tree.write(f"{CPU}/cpufreq/policy{core}", scaling_max_freq=3_500_000, cpuinfo_max_freq=4_000_000)
    tree.write(f"{CPU}/intel_pstate", no_turbo=1)
    tree.write("sys/class/thermal/thermal_zone0", type="x86_pkg_temp", temp=61_500)
    tree.write("sys/class/hwmon/hwmon0", name="coretemp", temp1_input=60_000, temp1_label="Core 0", temp2_input=59_000)
    tree.write("sys/class/power_supply/AC", type="Mains", online=1)
    tree.write("sys/class/power_supply/BAT0", type="Battery", status="Full")
    found = sensors.readings(tree.root)
    assert found == {
        "core_mhz": [3000.0, 2000.0, 1000.0],
        "governors": ["schedutil"],
        "driver": ["intel_pstate"],
        "most_mhz": {"allowed": 3500.0, "possible": 4000.0},
        "boost": False,
        "celsius": {"x86_pkg_temp": 61.5, "coretemp Core 0": 60.0, "coretemp temp2": 59.0},
        "throttled": 6,
        "power": {"AC": {"type": "Mains", "online": True}, "BAT0": {"type": "Battery", "status": "Full"}},
    }
    assert not sensors.on_battery(found)


def test_a_jetson(tree):
    tree.write("var/lib/nvpmodel", status="pmode:0002")
    tree.write("etc", **{"nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=MODE_30W >"})
    tree.write("sys/class/devfreq/17000000.gpu", cur_freq=612_000_000, governor="nvhost_podgov")
    found = sensors.readings(tree.root)
    assert found["power_model"] == "MODE_30W"
    assert found["devices"] == {"17000000.gpu": {"mhz": 612.0, "governor": "nvhost_podgov"}}


def test_a_power_mode_without_a_name_is_its_number(tree):
    tree.write("var/lib/nvpmodel", status="pmode:0007")
    assert sensors.power_model(tree.root) == "mode 7"


def test_a_machine_that_tells_nothing(tree):
    assert sensors.readings(tree.root) == {}
    assert activity.load(tree.root) == {}


def test_a_virtual_machine_tells_its_clock_in_cpuinfo(tree):
    tree.write("proc", cpuinfo="processor : 0\ncpu MHz\t\t: 2445.426\nprocessor : 1\ncpu MHz\t\t: 2000.0")
    assert sensors.core_mhz(tree.root) == [2445.426, 2000.0]


def test_sensors_of_one_name_are_told_apart(tree):
    for zone in (0, 1, 10, 2):
        tree.write(f"sys/class/thermal/thermal_zone{zone}", type="acpitz", temp=1000 * zone)
    found = sensors.temperatures(tree.root)
    assert found == {"acpitz": 0.0, "acpitz #2": 1.0, "acpitz #3": 2.0, "acpitz #4": 10.0}


def test_what_is_no_number_is_left_out(tree):
    tree.write("sys/class/thermal/thermal_zone0", type="broken", temp="N/A")
    assert sensors.temperatures(tree.root) == {}


def test_a_gpu_tells_its_clocks_and_why_it_is_slow():
    (gpu,) = nvml.gpus(FakeNvml(1, throttle=0x4 | 0x40 | 0x1))
    assert gpu.name == "gpu-0 Fake GPU"
    assert gpu.readings() == {
        "sm_mhz": 1500,
        "memory_mhz": 5001,
        "celsius": 55,
        "watts": 65.5,
        "throttled": ["heat", "its power limit"],
    }


def test_memory_of_all_gpus():
    assert nvml.used_memory(FakeNvml(2, used=5)) == 10
    assert nvml.used_memory(FakeNvml(0)) is None
    assert nvml.driver(FakeNvml(1)) == "580.10"


# Activity ------------------------------------------------------------------------------------------------------------


def test_shares_of_the_time_between_two_moments():
    before = Moment(at=0, total=100, idle=50, steal=1, own=20, held_back=0)
    after = Moment(at=10, total=120, idle=55, steal=3, own=28, held_back=2)
    assert activity.shares(before, after) == pytest.approx({"steal": 0.1, "others": 0.25, "held_back": 0.2})
    assert activity.shares(before, before) == {}


def test_counters_of_the_kernel(tree, monkeypatch):
    monkeypatch.setattr(activity, "_HERTZ", 100)
    stat(tree, user=200, idle=700, iowait=50, steal=50)
    tree.write("sys/fs/cgroup", **{"cpu.stat": "usage_usec 5\nnr_throttled 3\nthrottled_usec 2500000"})
    now = Moment.now(tree.root)
    assert (now.total, now.idle, now.steal, now.held_back) == (10.0, 7.5, 0.5, 2.5)


def test_load_and_pressure(tree):
    tree.write("proc", loadavg="1.25 0.7 0.5 1/100 5")
    tree.write("proc/pressure", cpu="some avg10=12.50 avg60=1.00 avg300=0.00 total=5\nfull avg10=0.00")
    assert activity.load(tree.root) == {"load_1min": 1.25, "cpu_pressure": 0.125}


def test_memory_is_the_machines_or_what_its_container_allows(tree):
    tree.write("proc", meminfo="MemTotal:       1000 kB\nMemFree: 5 kB")
    tree.write("sys/fs/cgroup", **{"memory.max": "max"})
    assert activity.memory(tree.root) == 1_024_000
    tree.write("sys/fs/cgroup", **{"memory.max": 4096})
    assert activity.memory(tree.root) == 4096


# Warnings ------------------------------------------------------------------------------------------------------------


def row(seconds, *, stable=True, name="demo | toy fp32"):
    found = Latency(batch=1, threads=None, warm_up=7, stable=stable, tile=distribution(seconds))
    return Row(name=name, network="demo", latency=found)


def warnings(tree, rows=(), *, after=lambda: None):
    watched = Environment.before(tree.root)
    after()
    return watched.machine(rows).warnings


def test_a_quiet_machine_has_no_warnings(tree):
    stat(tree, user=100, idle=100)
    tree.write("proc", loadavg="0.1 0.1 0.1 1/1 1", cpuinfo="cpu MHz : 2000")
    steady = row(np.linspace(0.010, 0.011, 40))
    assert warnings(tree, [steady], after=lambda: stat(tree, user=100, idle=5100)) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steal": 500, "idle": 9500}, "The host gave 5% of the processor's time to other virtual machines"),
        ({"user": 500_000, "idle": 500_000}, "of the processor while it ran"),
    ],
)
def test_time_that_others_took(tree, change, words):
    stat(tree)
    (found,) = warnings(tree, after=lambda: stat(tree, **change))
    assert words in found


def test_others_that_worked_before(tree, monkeypatch):
    stat(tree)
    monkeypatch.setattr(environment.time, "sleep", lambda _: stat(tree, user=300, idle=700))
    (found,) = warnings(tree)
    assert found == "Other programs took 30% of the processor before the bench began."


def test_a_quota(tree):
    stat(tree)
    tree.write("sys/fs/cgroup", **{"cpu.stat": "throttled_usec 0"})

    def after():
        stat(tree, idle=100_000)
        tree.write("sys/fs/cgroup", **{"cpu.stat": "throttled_usec 900000000"})

    (found,) = warnings(tree, after=after)
    assert "A CPU quota of the container held the bench back" in found


def watched_rows(tree, *clocks):
    """A bench whose rows ran at these clocks, each seen three times; one core sleeps."""
    watched = Environment.before(tree.root)
    for mhz in clocks:
        for around in (mhz - 5, mhz, mhz + 500):
            tree.write("proc", cpuinfo=f"cpu MHz : 800\ncpu MHz : {around}")
            watched.watch.look()
        watched.watch.end_row()
    return watched.machine([])


def test_a_clock_that_falls(tree):
    machine = watched_rows(tree, 3000, 2400)
    assert machine.warnings == ("The clock fell from 3000 to 2400 MHz between rows (the fastest core).",)
    assert machine.readings["during"] == {"fastest_core_mhz": [3000.0, 2400.0]}


def test_a_clock_that_rises_or_falls_a_little_is_no_news(tree):
    assert watched_rows(tree, 3000, 3500, 3100).warnings == ()


def test_a_row_that_was_too_short_to_be_seen_is_looked_at_when_it_ends(tree):
    tree.write("proc", cpuinfo="cpu MHz : 2000")
    tree.write("sys/class/thermal/thermal_zone0", type="cpu", temp=50_000)
    watched = Environment.before(tree.root)
    watched.watch.end_row()
    assert watched.watch.during == {"fastest_core_mhz": [2000.0], "hottest_celsius": [50.0]}


def test_the_machine_is_looked_at_while_rows_are_measured(tree, monkeypatch):
    tree.write("proc", cpuinfo="cpu MHz : 2000")
    monkeypatch.setattr(watch, "_EVERY", 0.001)
    looks = []
    with Watch(tree.root) as watched:
        monkeypatch.setattr(watched, "look", lambda: looks.append(1))
        until = time.monotonic() + 10
        while not looks and time.monotonic() < until:
            time.sleep(0.001)
    assert looks


def test_cores_that_were_slowed_down_for_heat(tree):
    tree.write(f"{CPU}/cpu0/thermal_throttle", core_throttle_count=1)
    after = lambda: tree.write(f"{CPU}/cpu0/thermal_throttle", core_throttle_count=2)  # noqa: E731
    assert warnings(tree, after=after) == ("Cores were slowed down for heat while the bench ran.",)


def test_a_battery(tree):
    tree.write("sys/class/power_supply/AC", type="Mains", online=0)
    assert warnings(tree) == ("The machine ran on its battery.",)


def test_a_gpu_below_its_clock(tree, monkeypatch):
    driver = FakeNvml(1, throttle=0x20)
    monkeypatch.setattr(nvml, "_library", lambda: driver)
    watched = Environment.before(tree.root)
    watched.watch.look()
    driver.throttle = 0x4
    watched.watch.look()
    driver.throttle = 0x1  # idle
    assert watched.machine([]).warnings == ("gpu-0 Fake GPU ran below its clock: heat, its power limit.",)


def test_calls_that_spread_drift_or_never_came_to_rest(tree):
    spread = ([0.01] * 4 + [0.02]) * 8
    found = warnings(
        tree,
        [row(spread, name="a"), row(np.linspace(0.010, 0.014, 40), name="b"), row([0.01] * 5, stable=False, name="c")],
    )
    assert found == (
        "a: one call in ten took 2.0 times the median or longer.",
        "b: the last quarter of the calls took 1.29 times as long as the first.",
        "c: calls had not come to rest after 7 of warm-up.",
    )


def test_what_the_machine_is(tree):
    tree.write("etc", **{"os-release": 'NAME="Debian"\nPRETTY_NAME="Debian 12"'})
    tree.write("proc/device-tree", model="NVIDIA Jetson Orin\0")
    machine = Environment.before(tree.root).machine([])
    assert machine.system.startswith("NVIDIA Jetson Orin, Debian 12, ")
    assert {"python", "numpy", "rasterio", "gdal"} <= set(machine.libraries)
    assert machine.cores >= 1


def test_this_machine_can_be_read():
    machine = Environment.before().machine([])
    assert machine.cpu
    assert machine.memory > 1 << 20
