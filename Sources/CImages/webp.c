#include "images.h"

#include <stdio.h>

#include <webp/decode.h>

static enum tspeft_image_status said(VP8StatusCode status, char *words) {
    switch (status) {
    case VP8_STATUS_OK: return TSPEFT_IMAGE_DECODED;
    case VP8_STATUS_OUT_OF_MEMORY: return TSPEFT_IMAGE_NO_MEMORY;
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA: return TSPEFT_IMAGE_TRUNCATED;
    case VP8_STATUS_UNSUPPORTED_FEATURE: snprintf(words, TSPEFT_IMAGE_WORDS, "it has what no decoder knows"); break;
    default: snprintf(words, TSPEFT_IMAGE_WORDS, "its bits are none of WebP's"); break;
    }
    return TSPEFT_IMAGE_DAMAGED;
}

enum tspeft_image_status tspeft_webp_decode(const struct tspeft_image_source *source, uint8_t *rgb, char *words) {
    words[0] = 0;
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config)) {
        snprintf(words, TSPEFT_IMAGE_WORDS, "the libwebp that is installed is of another version");
        return TSPEFT_IMAGE_DAMAGED;
    }
    VP8StatusCode status = WebPGetFeatures(source->bytes, source->count, &config.input);
    if (status != VP8_STATUS_OK) return said(status, words);
    if (config.input.width < 0 || (uint32_t)config.input.width != source->width
        || (uint32_t)config.input.height != source->height) {
        snprintf(words, TSPEFT_IMAGE_WORDS, "it has two sizes");
        return TSPEFT_IMAGE_DAMAGED;
    }
    size_t stride = 3 * (size_t)source->width;
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = rgb;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = stride * source->height;
    status = WebPDecode(source->bytes, source->count, &config);
    WebPFreeDecBuffer(&config.output);
    return said(status, words);
}
