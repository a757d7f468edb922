package news_test

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// found is what the checker finds in two files: what homeservers were told is stored, and what a module was told.
type found struct {
	stored   int
	lost     []string // stored, and never told
	disorder []string // told before an earlier piece about the same user was told for the first time
	repeated int      // told again, with the name of the first time
	renamed  []string // two users' news with one name
}

// check reads lines "user number", in the order in which each user's news happened, and lines "user number name".
func check(t *testing.T, stored, told string) (f found) {
	t.Helper()
	seen, last, owners := map[string]map[string]bool{}, map[string]int{}, map[string]string{}
	for _, line := range lines(t, told) {
		user, number, name := line[0], line[1], line[2]
		if owner, known := owners[name]; known && owner != user+" "+number {
			f.renamed = append(f.renamed, name)
		} else if known {
			f.repeated++
		}
		owners[name] = user + " " + number
		if seen[user] == nil {
			seen[user], last[user] = map[string]bool{}, -1
		}
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		if !seen[user][number] && n < last[user] {
			f.disorder = append(f.disorder, user+" "+number)
		}
		seen[user][number], last[user] = true, max(last[user], n)
	}
	for _, line := range lines(t, stored) {
		f.stored++
		if !seen[line[0]][line[1]] {
			f.lost = append(f.lost, line[0]+" "+line[1])
		}
	}
	return f
}

func lines(t *testing.T, file string) (all [][]string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		all = append(all, strings.Fields(s.Text()))
	}
	return all
}

func TestCheckerFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	write := func(name, text string) string {
		file := t.TempDir() + "/" + name
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	stored := write("stored", "@a 0\n@a 1\n@a 2\n@b 0\n@b 1\n")
	f := check(t, stored, write("told", "@a 0 x-1\n@a 2 x-3\n@a 1 x-2\n@a 0 x-1\n@b 0 x-4\n@c 7 x-4\n"))
	want := found{stored: 5, lost: []string{"@b 1"}, disorder: []string{"@a 1"}, repeated: 1, renamed: []string{"x-4"}}
	if f.stored != want.stored || f.repeated != want.repeated || !slices.Equal(f.lost, want.lost) ||
		!slices.Equal(f.disorder, want.disorder) || !slices.Equal(f.renamed, want.renamed) {
		t.Errorf("got %+v, want %+v", f, want)
	}
}
