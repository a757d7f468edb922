package wire_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// Values of a map of raw JSON are any JSON, where a field alone is always an object.
func TestMapOfRawJSONHoldsAnyJSON(t *testing.T) {
	t.Parallel()
	text := `{"unsigned":{"$e":{"fields":{"a":5,"b":"x","c":[1.0],"d":null,"e":{ "f":1 }}}}}`
	m := &callbacksv1.AddFieldToUnsignedCallbackResponse{}
	if err := wire.FromJSON([]byte(text), m, true); err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"a": []byte("5"), "b": []byte(`"x"`), "c": []byte("[1.0]"), "d": []byte("null"), "e": []byte(`{ "f":1 }`)}
	if diff := cmp.Diff(want, m.GetUnsigned()["$e"].GetFields()); diff != "" {
		t.Error(diff)
	}
	raw, err := wire.ToJSON(m)
	if err != nil {
		t.Fatal(err)
	}
	again := &callbacksv1.AddFieldToUnsignedCallbackResponse{}
	if err := wire.FromJSON(raw, again, true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, again, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	m.Unsigned["$e"].Fields["a"] = []byte("{")
	if err := throughProtobuf(m); err == nil {
		t.Error("what is no JSON was let through")
	}
}
