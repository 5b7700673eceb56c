/* image_internal.h - the second half of image_bind(): image_check.c. */
#ifndef SLUICE_CORE_IMAGE_INTERNAL_H
#define SLUICE_CORE_IMAGE_INTERNAL_H

#include "broker/core/image.h"

/* Sections are in place; NULL, or what is wrong inside them. */
const char *image_check(const struct image *image);

#endif
