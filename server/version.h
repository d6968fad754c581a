/*
 * What this program is. Set by the build.
 */
#ifndef UM_SERVER_VERSION_H
#define UM_SERVER_VERSION_H

const char *um_version(void);        /* "0.1.0" */
const char *um_version_commit(void); /* short commit, "unknown" outside a checkout */

#endif
