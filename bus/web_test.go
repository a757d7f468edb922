package bus_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

func TestHandlerAfterCloseAnswers503(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*stage){
		"and served before":  func(s *stage) { wantStatus(t, s.Handler(), "/page", http.StatusOK) },
		"and never was made": func(*stage) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, natstest.InProcess(t), entry("gate"))
			s.run("gate", "w", func(api *modulekit.ModuleAPI) {
				api.RegisterWebResource("/page", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }))
			})
			open(s)
			s.Close()
			wantStatus(t, s.Handler(), "/page", http.StatusServiceUnavailable)
			wantStatus(t, s.Handler(), "/other", http.StatusNotFound)
		})
	}
}

func TestHandlerWithoutNATSAnswers503(t *testing.T) {
	t.Parallel()
	r := &rosterv1.Roster{Revision: 1, Modules: []*rosterv1.Module{{Name: "gate", WebResources: []string{"/page"}}}}
	h := over(t, &line{}, r).Handler()
	wantStatus(t, h, "/page/below", http.StatusServiceUnavailable)
	wantStatus(t, h, "/pages", http.StatusNotFound)
}

func wantStatus(t *testing.T, h http.Handler, path string, want int) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	if w.Code != want {
		t.Errorf("%s: got %d %s, want %d", path, w.Code, w.Body, want)
	}
}
