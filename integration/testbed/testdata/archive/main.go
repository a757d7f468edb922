// Command archive is a module that writes down what it is told, in the file that ARCHIVE names, before it acknowledges. It fails
// now and then.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

func main() { modulekit.Main(modulekit.Module[struct{}]{Version: "1.0.0", New: newArchive}) }

var errNow = errors.New("not now")

func newArchive(_ struct{}, api *modulekit.ModuleAPI) error {
	file, err := os.OpenFile(os.Getenv("ARCHIVE"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	const oneIn = 200
	api.RegisterThirdPartyRulesCallbacks(modulekit.ThirdPartyRulesCallbacks{
		OnProfileUpdate: func(ctx context.Context, req *callbacksv1.OnProfileUpdateRequest) (*callbacksv1.OnProfileUpdateResponse, error) {
			if rand.IntN(oneIn) == 0 {
				return nil, errNow
			}
			_, err := fmt.Fprintln(file, req.GetUserId(), req.GetNewProfile().GetDisplayName(), modulekit.NewsID(ctx))
			return nil, err
		},
	})
	return nil
}
