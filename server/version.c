#include "server/version.h"

const char *um_version(void)
{
    return UM_VERSION;
}

const char *um_version_commit(void)
{
    return UM_COMMIT;
}
