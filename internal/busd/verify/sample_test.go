package verify

import (
	"testing"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

func TestSampleIsARequestInEitherMapping(t *testing.T) {
	t.Parallel()
	for _, d := range subjects.All() {
		for _, in := range []wire.Mapping{wire.Binary, wire.JSON} {
			data, err := wire.Encode(sample(d), in)
			if err != nil || len(data) == 0 {
				t.Errorf("%s: %q, %v", d.FullName(), data, err)
				continue
			}
			if err := wire.DecodeStrict(data, in, d.NewRequest()); err != nil {
				t.Errorf("%s: %v in %s", d.FullName(), err, data)
			}
		}
	}
}
