#include "images.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
// Behind jpeglib.h, which it needs.
#include <jerror.h>

// Scans of a progressive picture that are read; each goes over the whole picture. Encoders write about ten.
#define SCAN_LIMIT 500

struct failure {
    struct jpeg_error_mgr base;
    jmp_buf place;
    enum tspeft_image_status status;
    char *words;
};

static void fail(j_common_ptr codec) {
    struct failure *failure = (struct failure *)codec->err;
    char words[JMSG_LENGTH_MAX];
    codec->err->format_message(codec, words);
    snprintf(failure->words, TSPEFT_IMAGE_WORDS, "%s", words);
    switch (codec->err->msg_code) {
    case JERR_INPUT_EOF: failure->status = TSPEFT_IMAGE_TRUNCATED; break;
    case JERR_OUT_OF_MEMORY: failure->status = TSPEFT_IMAGE_NO_MEMORY; break;
    default: failure->status = TSPEFT_IMAGE_DAMAGED;
    }
    longjmp(failure->place, 1);
}

static void say_nothing(j_common_ptr codec) { (void)codec; }

static void begin_source(j_decompress_ptr codec) { (void)codec; }

static boolean fill_buffer(j_decompress_ptr codec) {
    // All bytes were there from the beginning.
    ERREXIT(codec, JERR_INPUT_EOF);
    return FALSE;
}

static void skip_bytes(j_decompress_ptr codec, long count) {
    if (count <= 0) return;
    if ((size_t)count > codec->src->bytes_in_buffer) ERREXIT(codec, JERR_INPUT_EOF);
    codec->src->next_input_byte += count;
    codec->src->bytes_in_buffer -= (size_t)count;
}

static void limit_scans(j_common_ptr codec) {
    if (((j_decompress_ptr)codec)->input_scan_number > SCAN_LIMIT) ERREXIT(codec, JERR_BAD_PROGRESSION);
}

static void refuse(struct failure *failure, const char *words) {
    snprintf(failure->words, TSPEFT_IMAGE_WORDS, "%s", words);
    failure->status = TSPEFT_IMAGE_DAMAGED;
    longjmp(failure->place, 1);
}

// a b / 255, rounded.
static uint8_t product(unsigned a, unsigned b) {
    unsigned sum = a * b + 128;
    return (uint8_t)(((sum >> 8) + sum) >> 8);
}

// Grey values in the last third of a row, each three times from its beginning.
static void spread_grey(uint8_t *row, size_t width) {
    const uint8_t *grey = row + 2 * width;
    for (size_t x = 0; x < width; x++) {
        uint8_t value = grey[x];
        row[3 * x] = row[3 * x + 1] = row[3 * x + 2] = value;
    }
}

// Inks as Adobe stores them: 255 for none.
static void mix_inks(const uint8_t *inks, uint8_t *row, size_t width) {
    for (size_t x = 0; x < width; x++) {
        unsigned left = inks[4 * x + 3];
        for (int part = 0; part < 3; part++) {
            row[3 * x + part] = (uint8_t)(left - product(255u - inks[4 * x + part], left));
        }
    }
}

static void decode(
        struct jpeg_decompress_struct *codec, struct failure *failure, const struct tspeft_image_source *source,
        uint8_t *rgb) {
    jpeg_read_header(codec, TRUE);
    if (codec->image_width != source->width || codec->image_height != source->height) {
        refuse(failure, "it has two sizes");
    }
    size_t width = source->width;
    switch (codec->num_components) {
    case 1: codec->out_color_space = JCS_GRAYSCALE; break;
    case 3: codec->out_color_space = JCS_RGB; break;
    case 4: codec->out_color_space = JCS_CMYK; break;
    default: refuse(failure, "it has neither one, three nor four colour components");
    }
    jpeg_start_decompress(codec);
    JSAMPARRAY inks = NULL;
    if (codec->num_components == 4) {
        inks = codec->mem->alloc_sarray((j_common_ptr)codec, JPOOL_IMAGE, (JDIMENSION)(4 * width), 1);
    }
    while (codec->output_scanline < codec->output_height) {
        uint8_t *row = rgb + 3 * width * codec->output_scanline;
        JSAMPROW target = inks ? inks[0] : codec->num_components == 1 ? row + 2 * width : row;
        if (jpeg_read_scanlines(codec, &target, 1) != 1) refuse(failure, "a row of it cannot be read");
        if (inks) {
            mix_inks(inks[0], row, width);
        } else if (codec->num_components == 1) {
            spread_grey(row, width);
        }
    }
    jpeg_finish_decompress(codec);
}

enum tspeft_image_status tspeft_jpeg_decode(const struct tspeft_image_source *source, uint8_t *rgb, char *words) {
    struct jpeg_decompress_struct codec;
    struct failure failure;
    struct jpeg_source_mgr input;
    struct jpeg_progress_mgr progress;
    memset(&codec, 0, sizeof codec);
    memset(&progress, 0, sizeof progress);
    words[0] = 0;
    failure.words = words;
    failure.status = TSPEFT_IMAGE_DECODED;
    codec.err = jpeg_std_error(&failure.base);
    failure.base.error_exit = fail;
    failure.base.output_message = say_nothing;
    if (setjmp(failure.place)) {
        jpeg_destroy_decompress(&codec);
        return failure.status;
    }
    jpeg_create_decompress(&codec);
    input.next_input_byte = source->bytes;
    input.bytes_in_buffer = source->count;
    input.init_source = begin_source;
    input.fill_input_buffer = fill_buffer;
    input.skip_input_data = skip_bytes;
    input.resync_to_restart = jpeg_resync_to_restart;
    input.term_source = begin_source;
    codec.src = &input;
    progress.progress_monitor = limit_scans;
    codec.progress = &progress;
    decode(&codec, &failure, source, rgb);
    jpeg_destroy_decompress(&codec);
    return TSPEFT_IMAGE_DECODED;
}
