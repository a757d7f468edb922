package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCredentialsInAFileThatOthersReadAreWarnedOf(t *testing.T) {
	t.Parallel()
	conf := write(t, base(t)+"  - module: gate\n")
	for mode, want := range map[os.FileMode]string{0o600: "", 0o644: "others can read the file that this goes to"} {
		out, err := os.OpenFile(filepath.Join(t.TempDir(), "gate.creds"), os.O_CREATE|os.O_WRONLY, mode)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := out.Chmod(mode); err != nil { // Whatever the umask is.
			t.Fatal(err)
		}
		var errors strings.Builder
		if status := Execute(t.Context(), []string{"credentials", "gate", "-c", conf}, Streams{Out: out, Err: &errors}); status != 0 {
			t.Fatalf("status %d: %s", status, errors.String())
		}
		if said := errors.String(); want == "" && said != "" || !strings.Contains(said, want) {
			t.Errorf("%v: said %q, want %q", mode, said, want)
		}
	}
}
