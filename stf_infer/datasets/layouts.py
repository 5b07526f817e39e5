# SPDX-License-Identifier: Apache-2.0
r"""How the public benchmark datasets of spatiotemporal fusion lie on disk, as a table.

A file says by its *name* what it is: which sensor, which day. Folders do not count, so every copy whose files kept
their names can be read: all in one folder, one folder a sensor (``Landsat``, ``MODIS``), one a date, one a pair.

Patterns are regular expressions of a whole file name without its suffix, any case. Groups: ``y`` year, ``m`` month,
``d`` day, or ``j`` the day of the year.

What is known and from where:

- CIA and LGC: Emelyanova, McVicar, Van Niel, Li, van Dijk: Assessing the accuracy of blending Landsat-MODIS surface
  reflectances in two landscapes with contrasting spatial and temporal dynamics. Remote Sensing of Environment 133
  (2013) 193-209. Original names of 17 and 14 pairs: all of them, as published code lists them. In CIA the name of a
  Landsat file holds the day in UTC, one before the local day of its MODIS file and of its folder.
- AHB, Tianjin, Daxing: Li, Li, He, Chen, Plaza: Spatio-temporal fusion for remote sensing data: an overview and new
  benchmark. Science China Information Sciences 63 (2020) 140301.
- Wuhan: Zhang, Xie, Li, Lei, Cao, Li: Wuhan Dataset: A High-Resolution Dataset of Spatiotemporal Fusion for Remote
  Sensing Images. IEEE Geoscience and Remote Sensing Letters 21 (2024). Eight pairs, Gaofen and Landsat.
- Butte and Imperial: Guo, Ye, Xu, Bruzzone: OBSUM: An object-based spatial unmixing model for spatiotemporal fusion of
  remote sensing images. Remote Sensing of Environment 304 (2024) 114046. Coarse images are repeated to fine pixels.
- Scales, numbers of bands, file names of the last six, and how many pairs train: the code of Sun, Cui, Liu, Yan: A
  Decade of Deep Learning for Remote Sensing Spatiotemporal Fusion (2025), which reads all eight.

Not verified on the data themselves: the order of bands (six: blue, green, red, NIR, SWIR 1, SWIR 2; four: blue, green,
red, NIR) follows from the composites that published code shows, and the same order for both sensors from that it
feeds them unpermuted. No nodata value is documented: what a file states counts. Whether the bytes of AHB, Tianjin and
Daxing are linear in reflectance is not known; as a share of 255 they are what published networks see. Whoever knows
better states it: every argument of :func:`stf_infer.datasets.open`.
"""

from __future__ import annotations

from dataclasses import dataclass

SIX = ("blue", "green", "red", "nir", "swir1", "swir2")
FOUR = ("blue", "green", "red", "nir")

_DASHED = r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})"
_COMPACT = r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})"
_OF_YEAR = r"(?P<y>\d{4})_?(?P<j>\d{3})"


@dataclass(frozen=True)
class Layout:
    """How a dataset lies on disk and how its numbers are to be read.

    Attributes:
        name: What it is called in papers.
        place: Where and what.
        fine: Patterns of fine files.
        coarse: Patterns of coarse files.
        examples: A fine and a coarse file name, for messages.
        bands: Names in the order of the files, fine and coarse alike.
        scale: ``physical = stored * scale``.
        ratio: Coarse pixel / fine pixel, nominal: files hold the coarse images on fine pixels.
        pixel: Side of a fine pixel [m].
        apart: A coarse file belongs to the fine one that is nearest in time, at most so many days away.
        training: So many of the first pairs train, in the survey's code; the rest are the test.
        pairs: How many pairs were published; None where no source that was read says so.
        aliases: Other names.
    """

    name: str
    place: str
    fine: tuple[str, ...]
    coarse: tuple[str, ...]
    examples: tuple[str, str]
    bands: tuple[str, ...]
    scale: float
    ratio: float
    pixel: float
    apart: int
    training: int
    pairs: int | None = None
    aliases: tuple[str, ...] = ()


# Copies of CIA and LGC that were named anew: L_2001-10-08, L2001_281_08oct, M_2001-10-08, MOD_20011008.
_MONTH = r"(_\d\d[a-z]{3}|_[a-z]{3}\d\d)?"
_FINE_ANEW = (rf"L_{_DASHED}", rf"L_?{_OF_YEAR}{_MONTH}")
_COARSE_ANEW = (rf"M_{_DASHED}", rf"M_?{_OF_YEAR}{_MONTH}", rf"MOD_{_COMPACT}")
_MOD09GA = rf"MOD09GA_A{_OF_YEAR}(\.sur_refl|_sur_refl)?(\.int)?"


def _daily(name: str, place: str, *, pairs: int | None = None, aliases: tuple[str, ...] = ()) -> Layout:
    """One of the three datasets of Li et al. 2020: they differ in name and place."""
    return Layout(
        name,
        place,
        fine=(rf"L_{_DASHED}",),
        coarse=(rf"M_{_DASHED}",),
        examples=("L_2015-6-21.tif", "M_2015-6-21.tif"),
        bands=SIX,
        scale=1 / 255,
        ratio=16,
        pixel=30,
        apart=7,
        training=20,
        pairs=pairs,
        aliases=aliases,
    )


def _sentinel(name: str, place: str, *aliases: str) -> Layout:
    """One of the two datasets of Guo et al. 2024."""
    return Layout(
        name,
        place,
        fine=(rf"S2_{_COMPACT}",),
        coarse=(rf"S3_{_COMPACT}(_real)?",),
        examples=("S2_20220713.tif", "S3_20220713_real.tif"),
        bands=FOUR,
        scale=1,
        ratio=30,
        pixel=10,
        apart=0,
        training=3,
        aliases=aliases,
    )


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "CIA",
            "Coleambally Irrigation Area, Australia, 2001-2002; Landsat 7 ETM+ and MODIS",
            fine=(rf"L7\d{{7}}_\d{{3}}{_COMPACT}(_HRF_modtran_surf_ref_agd66)?", *_FINE_ANEW),
            coarse=(_MOD09GA, *_COARSE_ANEW),
            examples=("L71093084_08420011007_HRF_modtran_surf_ref_agd66.tif", "MOD09GA_A2001281.sur_refl.tif"),
            bands=SIX,
            scale=1e-4,
            ratio=20,
            pixel=25,
            apart=1,
            training=11,
            pairs=17,
            aliases=("Coleambally",),
        ),
        Layout(
            "LGC",
            "Lower Gwydir Catchment, Australia, 2004-2005; Landsat 5 TM and MODIS",
            fine=(rf"{_COMPACT}_TM", *_FINE_ANEW),
            coarse=(_MOD09GA, *_COARSE_ANEW),
            examples=("20040416_TM.tif", "MOD09GA_A2004107.sur_refl.tif"),
            bands=SIX,
            scale=1e-4,
            ratio=20,
            pixel=25,
            apart=1,
            training=9,
            pairs=14,
            aliases=("Gwydir",),
        ),
        _daily("AHB", "Ar Horqin Banner, Inner Mongolia; Landsat 8 and MODIS"),
        _daily("Tianjin", "Tianjin, China; Landsat 8 and MODIS", pairs=27, aliases=("TJ",)),
        _daily("Daxing", "Daxing, Beijing, 2013-2019; Landsat 8 and MODIS", aliases=("DX",)),
        Layout(
            "Wuhan",
            "Wuhan, China; Gaofen and Landsat",
            fine=(rf"G_{_COMPACT}",),
            coarse=(rf"L_{_COMPACT}",),
            examples=("G_20180109.tif", "L_20180109.tif"),
            bands=FOUR,
            scale=1e-4,
            ratio=3.75,
            pixel=8,
            apart=7,
            training=5,
            pairs=8,
            aliases=("WH",),
        ),
        _sentinel(
            "Butte", "Southwest of Butte County, California, 2022; Sentinel-2 and Sentinel-3", "BC", "Sentinel-Butte"
        ),
        _sentinel(
            "Imperial", "Imperial County, California, 2022; Sentinel-2 and Sentinel-3", "IC", "Sentinel-Imperial"
        ),
    )
}
