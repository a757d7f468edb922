package modulekit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/modulekit/modulekittest"
)

// newAppeals serves pages below one path. Any http.Handler will do.
func newAppeals(_ struct{}, api *modulekit.ModuleAPI) error {
	pages := http.NewServeMux()
	pages.HandleFunc("GET /_synapse/client/appeals", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "Appeal here")
	})
	pages.HandleFunc("GET /_synapse/client/appeals/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "Appeal", r.PathValue("id"))
	})
	api.RegisterWebResource("/_synapse/client/appeals", pages)
	return nil
}

// A web resource is a path, all that lies below it, and a handler.
func ExampleModuleAPI_RegisterWebResource() {
	module := modulekit.Module[struct{}]{New: newAppeals}
	hs, err := modulekittest.New(module, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, path := range []string{"/_synapse/client/appeals", "/_synapse/client/appeals/7"} {
		rsp := httptest.NewRecorder()
		hs.Web.ServeHTTP(rsp, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Print(rsp.Body)
	}
	// Output:
	// Appeal here
	// Appeal 7
}

// What belongs to others cannot be had, and constructing the module fails.
func ExampleModuleAPI_RegisterWebResource_reserved() {
	module := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterWebResource("/_matrix/client/v3/login", http.NotFoundHandler())
		return nil
	}}
	_, err := modulekittest.New(module, "", modulekittest.Script{Module: "thief"})
	fmt.Println(err)
	// Output:
	// modulekit: module thief registers what it cannot: web resource "/_matrix/client/v3/login": /_matrix belongs to the Matrix specification; use a path of your own below /_synapse/client/
}
