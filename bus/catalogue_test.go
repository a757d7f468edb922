package bus_test

import (
	"reflect"
	"testing"

	"github.com/modulebus/modulebus/bus"
)

// Client embeds Categories, so a category that is called like a method of Client would hide one of the two.
func TestClientHasNoMethodNamedLikeACategory(t *testing.T) {
	t.Parallel()
	client := reflect.TypeFor[*bus.Client]()
	for category := range reflect.TypeFor[bus.Categories]().Fields() {
		if _, taken := client.MethodByName(category.Name); taken {
			t.Errorf("%s is a category and a method of Client", category.Name)
		}
	}
}
