#!/usr/bin/env bash
# Somebody whose display name another in the room has as well is highlighted by Synapse when the name is written, and by matrix-js-sdk not:
# it looks for the name as it shows it, with the user ID behind it. And where the name is the beginning of a word in letters that are not
# ASCII, the client highlights it, and Synapse does not.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib/synapse.bash
source "$here/lib/synapse.bash"
# shellcheck source=lib/sdk.bash
source "$here/lib/sdk.bash"
sdk
URL=$url PYTHONPATH=$here/lib "$python" - <<'PY'
from told import HIGHLIGHTS, NOTIFIES, called, check, reader, writer

print("Synapse 1.163.2 and matrix-js-sdk 43.0.0, of one message to a reader named Ann, then Иван:")
called(writer, "Bob")
called(reader, "Ann")
check("it has the reader's name", "Ann, hello", HIGHLIGHTS, HIGHLIGHTS)
check("it has a word that begins like the name", "Annual meeting", NOTIFIES, NOTIFIES)
called(writer, "Ann")
check("it has the reader's name, which the writer has as well", "Ann, hello", HIGHLIGHTS, NOTIFIES)
called(writer, "Bob")
called(reader, "Иван")
check("it has the reader's name", "Иван, привет", HIGHLIGHTS, HIGHLIGHTS)
check("it has a word that begins like the name", "Ивановна пришла", NOTIFIES, HIGHLIGHTS)
PY
