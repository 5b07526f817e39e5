# SPDX-License-Identifier: Apache-2.0
"""What a bench found, as data: one JSON file that says how to repeat the run and what every output is made from.

Times are in seconds, memory in bytes, energy in joules. A figure that could not be had is null, and a note says why.
Reports (table, Markdown, HTML, comparison of two runs) are functions of this alone, and of the rasters that it names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import UsageError

SCHEMA: Literal[1] = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Distribution(_Frozen):
    """Seconds of something that was done several times.

    Attributes:
        n: How often it was measured.
        p50: Median; likewise ``p90`` and ``p99``, linearly interpolated.
        maximum: The slowest.
        mean: Their mean.
        samples: Single measurements in their order, at most 1000 of them, evenly chosen.
    """

    n: int
    p50: float
    p90: float
    p99: float
    maximum: float
    mean: float
    samples: tuple[float, ...]


class Latency(_Frozen):
    """Calls of an engine with tiles that lie in memory.

    Attributes:
        batch: Tiles a call.
        threads: CPU threads that the engine was given; None: its own choice.
        warm_up: Calls before the first that counts.
        stable: Whether the last calls of the warm-up agreed.
        tile: Seconds of a tile: those of a call over ``batch``.
        clock: ``host`` or ``cuda events``.
    """

    batch: int
    threads: int | None
    warm_up: int
    stable: bool
    tile: Distribution
    clock: Literal["host", "cuda events"] = "host"


class Stage(_Frozen):
    """What a thread of the pipeline did of one kind while a scene was fused; ``waiting`` is no work."""

    thread: str
    name: str
    waiting: bool
    calls: int
    seconds: float
    bytes: int


class Span(_Frozen):
    """One stretch of a stage, in seconds since the run began: what a timeline is drawn from."""

    thread: str
    name: str
    waiting: bool
    start: float
    end: float


class Energy(_Frozen):
    """Energy of a whole run, or why it is not known.

    Attributes:
        joules: By source, e.g. ``{"package-0": 12.3}``; empty where nothing can be read.
        joules_a_megapixel: Sum of all sources over a million output pixels; None where nothing can be read.
        note: What was read, or why nothing was: ``not readable: ...``.
    """

    joules: dict[str, float] = {}
    joules_a_megapixel: float | None = None
    note: str


class Throughput(_Frozen):
    """A whole scene, from files to a file.

    Attributes:
        scene: Name of the scene.
        height: Fine pixels; likewise ``width``.
        bands: Of the output.
        seconds: Wall time, of each run.
        tiles: Tiles that the engine ran; None where nobody counted.
        engine_seconds: What the engine alone takes for the same tiles, at its median of a tile.
        megapixels_a_second: Output pixels (not times bands) over the median wall time.
        scenes_an_hour: Of this size.
        stages: What the threads did in the median run, all in all.
        spans: The first of their stretches, at most 2000.
        peak_memory: Resident memory at its highest, bytes; of the process that ran it.
        device_memory: Of the device, bytes; None where there is no device.
        energy: Of the median run.
    """

    scene: str
    height: int
    width: int
    bands: int
    seconds: tuple[float, ...]
    tiles: int | None = None
    engine_seconds: float | None
    megapixels_a_second: float
    scenes_an_hour: float
    stages: tuple[Stage, ...]
    spans: tuple[Span, ...]
    peak_memory: int | None
    device_memory: int | None
    energy: Energy


class Figures(_Frozen):
    """Metrics of one image against another, by the names of :mod:`stf_infer.metrics`; null where undefined."""

    pooled: dict[str, float | None]
    per_band: dict[str, dict[str, float | None]]
    pixels: int
    notes: tuple[str, ...] = ()


class Quality(_Frozen):
    """How good the result of one scene is.

    Attributes:
        scene: Name of the scene.
        truth: Against the truth; None where there is none.
        fp32: Against what the fp32 engine of the same bundle makes; None for that itself, or where it failed.
        changed: Against the truth, over pixels that changed between the dates; ``unchanged``: over the rest.
        seam: Gradient across borders of tiles over gradient elsewhere; None where there is no border.
        image: The result, a path relative to the folder of the JSON file; None where it was not kept.
    """

    scene: str
    truth: Figures | None = None
    fp32: Figures | None = None
    changed: Figures | None = None
    unchanged: Figures | None = None
    seam: float | None = None
    image: str | None = None


class Row(_Frozen):
    """One bundle on one engine in one precision, or a baseline.

    Attributes:
        name: Unique in the file, for a person: ``demo | openvino-cpu bf16``.
        kind: ``engine`` or ``baseline``.
        bundle: Path as it was given; empty for a baseline. ``bundle_sha256`` is its identity, whatever its path.
        network: Name of the network or the baseline.
        target: Such as ``openvino-cpu``; empty for a baseline.
        precision: fp32, fp16, bf16, int8; empty for a baseline.
        engine: What was opened, for a person: version, options, whether it was compiled before.
        steps: Steps of a diffusion sampler; None for other networks.
        tile: Rows and columns; likewise ``halo``, in fine pixels; None for a baseline.
        failure: Why it could not be measured; every figure is then missing.
        load: Seconds from the bundle to an engine that can be called; ``first_call``: of the first call after it.
        latency: At the batch and the threads of a run; ``sweep``: at others.
        on_device: The same calls by the device's own clock, around the network alone, without copies; None where the
            engine has no such clock.
        throughput: Scene by scene; likewise ``quality``.
        budget: What its accuracy is held to and how it does, as the bundle states it; empty where it states nothing.
        notes: What a reader has to know.
    """

    name: str
    kind: Literal["engine", "baseline"] = "engine"
    bundle: str = ""
    bundle_sha256: str = ""
    network: str
    target: str = ""
    precision: str = ""
    engine: str = ""
    steps: int | None = None
    tile: tuple[int, int] | None = None
    halo: int | None = None
    failure: str | None = None
    load: float | None = None
    first_call: float | None = None
    latency: Latency | None = None
    on_device: Latency | None = None
    sweep: tuple[Latency, ...] = ()
    throughput: tuple[Throughput, ...] = ()
    quality: tuple[Quality, ...] = ()
    budget: str = ""
    notes: tuple[str, ...] = ()


class SceneFacts(_Frozen):
    """A scene that was fused. :func:`stf_infer.bench.scene_files.rasters_of` opens its rasters again.

    Attributes:
        name: Unique in the file.
        inputs: Role to path; likewise ``truth``: absolute, or relative to the folder of the JSON file.
        stated: Role (or ``truth``) to what was stated about its raster, by the names of :class:`~stf_infer.Raster`:
            ``bands scale offset nodata names crs transform``; nothing where the raster says all itself.
        mask: Path of a raster of three bands on the fine grid, 1 where it holds: every raster of the scene is valid;
            valid and changed; valid and unchanged. None where there is no truth.
        pixels: How many pixels each of these holds: ``valid``, ``changed``, ``unchanged``; empty without a mask.
        height: Fine pixels; likewise ``width``.
        bands: Names of the bands that fine_t1 and the truth share, in the order of fine_t1.
        ratio: Coarse pixel over fine pixel.
        unit: Physical unit of the values.
        data_range: Span of possible values, for PSNR and SSIM.
        change_threshold: Pixels count as changed where the truth departs from fine_t1 by more than this, root mean
            square over bands; None where there is no truth.
        remark: What a reader has to know, such as that the coarse images are simulated.
    """

    name: str
    inputs: dict[str, str]
    truth: str | None = None
    stated: dict[str, dict[str, Any]] = {}
    mask: str | None = None
    pixels: dict[str, int] = {}
    height: int
    width: int
    bands: tuple[str, ...]
    ratio: float
    unit: str
    data_range: float | None
    change_threshold: float | None = None
    remark: str = ""


class Machine(_Frozen):
    """What it was measured on.

    Attributes:
        system: Operating system and its version.
        cpu: Its name; likewise ``features``.
        cores: That this process may use.
        memory: Bytes.
        gpus: Names.
        libraries: Name to version, of everything that computes.
        readings: What was read before, during and after: clocks (MHz), temperatures (degrees C), governor, power.
        noise: Shares of time and spreads, e.g. ``steal``, ``busy_before``, ``load_1min``.
        warnings: Why figures may be off: other work, stolen time, a falling clock. Empty on a quiet machine.
    """

    system: str
    cpu: str
    features: tuple[str, ...]
    cores: int
    memory: int
    gpus: tuple[str, ...] = ()
    libraries: dict[str, str]
    readings: dict[str, Any] = {}
    noise: dict[str, float] = {}
    warnings: tuple[str, ...] = ()


class Result(_Frozen):
    """A whole bench.

    Attributes:
        schema_version: Of this format; a reader refuses a newer one.
        package: Version of stf-infer.
        measured: Date and time, UTC, ISO 8601.
        seconds: Wall time of the whole bench.
        command: What a person types to repeat it.
        settings: Everything that was asked for, defaults written out.
        machine: What it ran on.
        scenes: What was fused.
        rows: What was found.
        unavailable: Engines that are known and were not measured, and why: not installed, no device, nothing built.
    """

    schema_version: Literal[1] = SCHEMA
    package: str
    measured: str
    seconds: float
    command: tuple[str, ...]
    settings: dict[str, Any]
    machine: Machine
    scenes: tuple[SceneFacts, ...]
    rows: tuple[Row, ...]
    unavailable: dict[str, str] = {}


def read(path: str | Path) -> Result:
    """A result from its JSON file.

    Raises:
        UsageError: There is no such file, or it holds no result that this version can read.
    """
    path = Path(path)
    try:
        return Result.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError("A bench result cannot be read", got=f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UsageError(
            "This is no bench result that can be read here",
            got=f"{path}: {place}: {first['msg']}",
            allowed=f"JSON of `python -m stf_infer.bench`, schema version {SCHEMA}",
        ) from error
