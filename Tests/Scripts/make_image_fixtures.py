"""Makes Fixtures/images: small pictures of many kinds, and what Pillow and transformers make of them.

expected.safetensors has, for each picture NAME but the large one, `NAME` [height, width, 3]: what transformers' load_image gives, which is
Pillow's `exif_transpose` and `convert("RGB")`. Some have more: `NAME:clip28` is CLIPImageProcessorPil's picture before it is
rescaled (shortest edge 28, centre of 28 x 28), `NAME:up`, of 60 x 60 from an edge of 60, `NAME:pad` LlavaImageProcessorPil's
with padding to a square, `NAME:small` a crop that is larger than the picture (edge 20, centre of 30 x 26), `NAME:FILTER`
that of another filter (exact size of 11 x 13), and `NAME:values` [3, 28, 28] the values that a tower gets (F32).

Pictures are made of seeded numbers. Pillow writes most; PNGs of 16 bits and interlaced ones are put together here, since it
cannot. Versions used: Pillow 13.0.0, numpy 2.4.6, transformers 5.24.0. Run from the package's root:
python Tests/Scripts/make_image_fixtures.py
"""

import io
import pathlib
import struct
import zlib

import numpy as np
import PIL
from PIL import Image, ImageOps
from safetensors.numpy import save_file

WIDTH, HEIGHT = 37, 23
FOLDER = pathlib.Path("Fixtures/images")


def scene(channels, seed=1, width=WIDTH, height=HEIGHT):
    """Slopes, an edge and some noise, so that chroma and overshooting show: [height, width, channels] of 0 to 255."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for channel in range(channels):
        plane = 255 * (x * (channel + 1) / width + y * 0.7 / height) % 256
        plane = np.where((x - width / 2) ** 2 + (y - height / 2) ** 2 < 36 + 9 * channel, 255 - plane, plane)
        plane[2:6, 3:9] = 255 * (channel % 2)
        planes.append(plane + random.normal(0, 12, plane.shape))
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, depth, kind, rows, interlaced=False, more=b""):
    """A PNG of unfiltered rows (bytes each); for an interlaced one, the rows of all passes."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlaced))
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def wide(channels, seed):
    """Numbers of 16 bits, of which some of the grey ones lie below 256."""
    values = scene(channels, seed).astype(np.uint16) * 257
    return (values // (np.arange(WIDTH) % 5 * 60 + 1)[None, :, None]).astype(">u2")


def adam7(pixels):
    """The rows of an interlaced picture [height, width, channels] of bytes."""
    for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        part = pixels[y0::dy, x0::dx]
        if part.size:
            yield from (row.tobytes() for row in part)


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


def xmp(orientation):
    return (f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>').encode()


def pictures():
    rgb = Image.fromarray(scene(3))
    grey = Image.fromarray(scene(1)[..., 0])
    rgba = Image.fromarray(scene(4, 2))
    yield "colour.jpg", saved(rgb, "JPEG", quality=88)
    yield "full.jpg", saved(rgb, "JPEG", quality=95, subsampling=0)
    yield "half.jpg", saved(rgb, "JPEG", quality=75, subsampling=1, restart_marker_blocks=2)
    yield "progressive.jpg", saved(rgb, "JPEG", quality=80, progressive=True)
    yield "rgb.jpg", saved(rgb, "JPEG", quality=90, keep_rgb=True)
    yield "grey.jpg", saved(grey, "JPEG", quality=85)
    yield "cmyk.jpg", saved(Image.fromarray(scene(4, 3), "CMYK"), "JPEG", quality=90)
    small = Image.fromarray(scene(3, 4, 13, 9))
    for orientation in range(1, 9):
        yield f"exif{orientation}.jpg", saved(small, "JPEG", quality=90, exif=exif(orientation))
    yield "xmp.jpg", saved(small, "JPEG", quality=90, xmp=xmp(6))
    yield "named.png", saved(small, "JPEG", quality=90)
    yield "colour.png", saved(rgb, "PNG")
    yield "alpha.png", saved(rgba, "PNG")
    yield "grey.png", saved(grey, "PNG")
    yield "grey-alpha.png", saved(Image.fromarray(scene(2, 5), "LA"), "PNG")
    yield "bits1.png", saved(grey.convert("1"), "PNG")
    for bits in (2, 4):
        rows = scene(1, 6)[..., 0] >> (8 - bits)
        per = 8 // bits
        padded = np.pad(rows, ((0, 0), (0, -WIDTH % per)))
        packed = sum(padded[:, place::per].astype(np.uint8) << (8 - bits * (place + 1)) for place in range(per))
        yield f"bits{bits}.png", png(WIDTH, HEIGHT, bits, 0, [row.tobytes() for row in packed.astype(np.uint8)])
    for colors in (2, 4, 16, 200):
        yield f"palette{colors}.png", saved(rgb.quantize(colors), "PNG")
    yield "transparent.png", saved(rgb.quantize(30), "PNG", transparency=3)
    yield "keyed.png", saved(rgb, "PNG", transparency=tuple(int(v) for v in scene(3)[0, 0]))
    yield "short-palette.png", png(
        4, 1, 8, 3, [bytes([0, 1, 2, 200])], more=chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60])))
    yield "grey16.png", png(WIDTH, HEIGHT, 16, 0, [row.tobytes() for row in wide(1, 7)])
    yield "colour16.png", png(WIDTH, HEIGHT, 16, 2, [row.tobytes() for row in wide(3, 8)])
    yield "alpha16.png", png(WIDTH, HEIGHT, 16, 6, [row.tobytes() for row in wide(4, 9)])
    yield "grey-alpha16.png", png(WIDTH, HEIGHT, 16, 4, [row.tobytes() for row in wide(2, 10)])
    yield "interlaced.png", png(WIDTH, HEIGHT, 8, 2, list(adam7(scene(3, 11))), True)
    yield "interlaced-grey16.png", png(WIDTH, HEIGHT, 16, 0, list(adam7(wide(1, 12))), True)
    yield "exif.png", saved(small, "PNG", exif=exif(8))
    yield "gamma.png", png(
        13, 9, 8, 2, [row.tobytes() for row in scene(3, 4, 13, 9)], more=chunk(b"gAMA", struct.pack(">I", 100000)))
    yield "colour.webp", saved(rgb, "WEBP", quality=70)
    yield "lossless.webp", saved(rgb, "WEBP", lossless=True)
    yield "alpha.webp", saved(rgba, "WEBP", quality=80)
    yield "alpha-lossless.webp", saved(rgba, "WEBP", lossless=True, exact=True)
    yield "exif.webp", saved(small, "WEBP", quality=80, exif=exif(6))
    yield "tall.png", saved(Image.fromarray(scene(3, 13, 5, 61)), "PNG")
    yield "wide.jpg", saved(Image.fromarray(scene(3, 14, 97, 7)), "JPEG", quality=90)
    yield "large.jpg", saved(Image.fromarray(scene(3, 15, 211, 149)), "JPEG", quality=60)


def processed(image, pad=False, **settings):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    processor = LlavaImageProcessorPil(do_pad=True, **settings) if pad else CLIPImageProcessorPil(**settings)
    values = processor(images=image, return_tensors="np")["pixel_values"][0]
    return values if settings.get("do_rescale", True) else np.ascontiguousarray(np.moveaxis(values, 0, -1))


def expected(name, image):
    plain = {"do_rescale": False, "do_normalize": False}
    edge = lambda n: {"size": {"shortest_edge": n}, "crop_size": {"height": n, "width": n}} | plain
    if name != "large.jpg":
        yield name, np.array(image)
    if name in ("colour.jpg", "grey.png", "alpha.png", "cmyk.jpg", "exif6.jpg", "tall.png", "wide.jpg", "large.jpg", "colour.webp"):
        yield name + ":clip28", processed(image, **edge(28))
    if name in ("colour.png", "exif6.jpg"):
        yield name + ":up", processed(image, **edge(60))
        yield name + ":small", processed(
            image, size={"shortest_edge": 20}, crop_size={"height": 30, "width": 26}, **plain)
        yield name + ":values", processed(image, size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    if name in ("colour.png", "tall.png", "colour.jpg"):
        yield name + ":pad", processed(image, pad=True, **edge(28))
    if name == "colour.png":
        for kind in ("lanczos", "bilinear", "box", "hamming"):
            yield f"{name}:{kind}", processed(
                image, size={"height": 11, "width": 13}, do_center_crop=False,
                resample=getattr(Image.Resampling, kind.upper()), **plain)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, data in pictures():
        (FOLDER / name).write_bytes(data)
        image = ImageOps.exif_transpose(Image.open(FOLDER / name)).convert("RGB")
        tensors |= dict(expected(name, image))
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, FOLDER / "expected.safetensors")
    print(PIL.__version__, sum(file.stat().st_size for file in FOLDER.iterdir()), "bytes")


if __name__ == "__main__":
    main()
