"""When this process began to load the package: what its files were until then is what it runs."""

import time

BEGAN = time.time()
