"""Limits of a cell's image, and how to turn other pictures into what is taken, without a loss."""

# Largest in the data: 394 px and 33 kB. The limits only keep crafted files out of memory.
MAX_SIDE = 2000
MAX_ENTRY_BYTES = 4 << 20

TO_RGB = (
    "convert it with Pillow, "
    'ImageOps.exif_transpose(Image.open(path)).convert("RGB").save("cell.png")'
)
# Black as the background of the set; dropping the alpha would show what lay hidden below it.
ON_BLACK = (
    "put it on black with Pillow, "
    'image = ImageOps.exif_transpose(Image.open(path)).convert("RGBA"); '
    'Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")'
    '.save("cell.png")'
)
# Pillow would clip 16-bit grey to white; and most such pictures have 12 bits, so are nearly black.
SCALED = (
    "scale it by the largest value of its camera, as in WHITE = 4095 for 12 bits, with OpenCV, "
    'cv2.imwrite("cell.png", cv2.imread(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) '
    "* (255 / WHITE))"
)
ONE_FRAME = (
    "take one with Pillow, image = Image.open(path); image.seek(0); "
    'image.convert("RGB").save("cell.png")'
)
