package operatordoor_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/busd/door/doortest"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
	"github.com/modulebus/modulebus/subjects"
)

func TestStatusIsOfTheRosterThatAsksGoBy(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	d.Join("gate", subjects.UserMayCreateRoom.FullName(), subjects.UserMayInvite.FullName()) // Clients are told of it later.
	for known := d.Roster.Snapshot().GetRevision(); ; {
		asked := time.Now()
		rsp, out := d.Do("GET", "/_modulebus/v1/modules", nil)
		var list operatordoor.ModuleList
		if err := json.Unmarshal(out, &list); err != nil || rsp.StatusCode != 200 {
			t.Fatalf("%s %s: %v", rsp.Status, out, err)
		}
		if list.RosterRevision >= known {
			break
		}
		if time.Since(asked) < operatordoor.RosterLag { // On a machine that is busier than that, it is told all the same.
			t.Fatalf("it tells of revision %d, while modules are known as of %d", list.RosterRevision, known)
		}
	}
	if !d.Client.Wants(subjects.UserMayInvite) {
		t.Error("the module is shown with a callback that is not asked")
	}
}

func TestModulesAreListedWithTheirProcesses(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	rsp, out := d.Do("GET", "/_modulebus/v1/modules", nil)
	var list operatordoor.ModuleList
	if err := json.Unmarshal(out, &list); err != nil || rsp.StatusCode != 200 || len(list.Modules) != 1 {
		t.Fatalf("%s %s: %v", rsp.Status, out, err)
	}
	if p := list.Modules[0].Process("1"); p == nil || p.PID != 4711 || p.Restarts != 1 || !strings.Contains(p.LastError, "exit status 1") {
		t.Errorf("its process is %+v", p)
	}
	if p := list.Modules[0].Process("2"); p != nil {
		t.Errorf("there is another process: %+v", p)
	}
	if list.Config.Error != "a mistake" {
		t.Errorf("the configuration is %+v", list.Config)
	}
}

func TestRestartAnswersWhenItIsDone(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	if rsp, out := d.Do("POST", "/_modulebus/v1/modules/gate/restart", nil); rsp.StatusCode != 200 || !strings.Contains(string(out), `"workers":1`) {
		t.Errorf("%s %s", rsp.Status, out)
	}
	rsp, out := d.Do("POST", "/_modulebus/v1/modules/other/restart", nil)
	doortest.Wants(t, rsp, out, 409, "M_UNKNOWN")
}
