#include "images.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <png.h>

struct reader {
    const struct tspeft_image_source *source;
    size_t position;
    jmp_buf place;
    enum tspeft_image_status status;
    char *words;
};

static void fail(png_structp codec, png_const_charp words) {
    struct reader *reader = png_get_error_ptr(codec);
    if (reader->status == TSPEFT_IMAGE_DECODED) {
        snprintf(reader->words, TSPEFT_IMAGE_WORDS, "%s", words);
        reader->status = strstr(words, "memory") ? TSPEFT_IMAGE_NO_MEMORY : TSPEFT_IMAGE_DAMAGED;
    }
    longjmp(reader->place, 1);
}

static void say_nothing(png_structp codec, png_const_charp words) {
    (void)codec;
    (void)words;
}

static void read_bytes(png_structp codec, png_bytep target, size_t count) {
    struct reader *reader = png_get_io_ptr(codec);
    if (count > reader->source->count - reader->position) {
        reader->status = TSPEFT_IMAGE_TRUNCATED;
        png_error(codec, "it ends early");
    }
    memcpy(target, reader->source->bytes + reader->position, count);
    reader->position += count;
}

// Chunks that change nothing of what is wanted: texts that unpack to any size, colour profiles, and the transparent colour,
// which would bring a fourth part.
static const png_byte passed_over[] =
    "bKGD\0cHRM\0eXIf\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0sRGB\0tEXt\0tIME\0tRNS\0zTXt";

static void pass_over(png_structp codec) {
    png_set_keep_unknown_chunks(codec, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
    png_set_keep_unknown_chunks(codec, PNG_HANDLE_CHUNK_NEVER, passed_over, sizeof passed_over / 5);
}

// Grey values of 16 bits at the beginning of a row, the upper byte first, each as three of eight from the row's end on.
static void clip_grey(uint8_t *row, size_t width) {
    for (size_t x = width; x-- > 0;) {
        uint8_t value = row[2 * x] ? 255 : row[2 * x + 1];
        row[3 * x] = row[3 * x + 1] = row[3 * x + 2] = value;
    }
}

static void decode(png_structp codec, png_infop info, const struct tspeft_image_source *source, uint8_t *rgb) {
    png_read_info(codec, info);
    size_t width = png_get_image_width(codec, info), height = png_get_image_height(codec, info);
    if (width != source->width || height != source->height) png_error(codec, "it has two sizes");
    int depth = png_get_bit_depth(codec, info), kind = png_get_color_type(codec, info);
    int is_wide_grey = kind == PNG_COLOR_TYPE_GRAY && depth == 16;
    if (!is_wide_grey) {
        if (depth == 16) png_set_strip_16(codec);
        if (kind == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(codec);
        if (kind == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(codec);
        if (kind & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(codec);
        if (!(kind & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(codec);
    }
    int passes = png_set_interlace_handling(codec);
    png_read_update_info(codec, info);
    if (png_get_rowbytes(codec, info) != width * (is_wide_grey ? 2 : 3)) png_error(codec, "its rows are of another width");
    for (int pass = 0; pass < passes; pass++) {
        for (size_t y = 0; y < height; y++) png_read_row(codec, rgb + 3 * width * y, NULL);
    }
    png_read_end(codec, NULL);
    for (size_t y = 0; is_wide_grey && y < height; y++) clip_grey(rgb + 3 * width * y, width);
}

enum tspeft_image_status tspeft_png_decode(const struct tspeft_image_source *source, uint8_t *rgb, char *words) {
    struct reader reader = {.source = source, .status = TSPEFT_IMAGE_DECODED, .words = words};
    words[0] = 0;
    png_structp codec = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, fail, say_nothing);
    if (!codec) return TSPEFT_IMAGE_NO_MEMORY;
    png_infop info = png_create_info_struct(codec);
    if (!info) {
        png_destroy_read_struct(&codec, NULL, NULL);
        return TSPEFT_IMAGE_NO_MEMORY;
    }
    if (setjmp(reader.place)) {
        png_destroy_read_struct(&codec, &info, NULL);
        return reader.status;
    }
    png_set_read_fn(codec, &reader, read_bytes);
    // The size is the caller's to bound.
    png_set_user_limits(codec, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    pass_over(codec);
    decode(codec, info, source, rgb);
    png_destroy_read_struct(&codec, &info, NULL);
    return TSPEFT_IMAGE_DECODED;
}
