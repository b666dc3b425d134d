#ifndef TSPEFT_CImages_images_h
#define TSPEFT_CImages_images_h

#include <stddef.h>
#include <stdint.h>

// Decoders of pictures: libjpeg-turbo, libpng and libwebp behind one form. Their errors come back as a status and words;
// nothing jumps through the caller.

/// Bytes of a picture's file, and the size that its header says.
struct tspeft_image_source {
    const uint8_t *bytes;
    size_t count;
    uint32_t width, height;
};

/// What became of a picture.
enum tspeft_image_status {
    TSPEFT_IMAGE_DECODED = 0,
    /// The bytes end before the picture does.
    TSPEFT_IMAGE_TRUNCATED,
    /// The bytes break the rules of their format; there are words.
    TSPEFT_IMAGE_DAMAGED,
    /// There was no memory for it.
    TSPEFT_IMAGE_NO_MEMORY
};

/// Room for the words of an error, with the zero behind them.
#define TSPEFT_IMAGE_WORDS 256

/// Decodes a picture into `rgb`, height rows of width pixels from the top, each three bytes, red, green and blue, without
/// gaps: grey as equal parts, palettes looked up, alpha left out, 16 bits cut to the upper eight (grey of 16 bits: all
/// above 255 is 255), CMYK as Adobe stores it, inverted, turned into RGB by its products with what black leaves. So does
/// `convert("RGB")` of Python's Pillow. `words` has room for TSPEFT_IMAGE_WORDS bytes.
enum tspeft_image_status tspeft_jpeg_decode(const struct tspeft_image_source *source, uint8_t *rgb, char *words);
enum tspeft_image_status tspeft_png_decode(const struct tspeft_image_source *source, uint8_t *rgb, char *words);
enum tspeft_image_status tspeft_webp_decode(const struct tspeft_image_source *source, uint8_t *rgb, char *words);

#endif
