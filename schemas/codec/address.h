/* address.h - where the daemon listens when nobody said otherwise: the same answer for the daemon and its clients. */
#ifndef SLUICE_CODEC_ADDRESS_H
#define SLUICE_CODEC_ADDRESS_H

#include <stddef.h>

/* $SLUICE_URL, else ipc:///run/sluice/bus.sock for root, else $XDG_RUNTIME_DIR/sluice/bus.sock, else a folder of our own in the
 * temporary directory (whoever makes it makes it 0700). Returns the length needed, without the NUL. */
size_t address_default(char *buffer, size_t buffer_len);

#endif
