"""The operators of ``faults`` as a library: what ``--import tests.faults_library`` brings into a whole run of pytest."""

from tests import faults

faults.register()
