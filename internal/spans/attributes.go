package spans

import "go.opentelemetry.io/otel/attribute"

// Attributes that the semantic conventions of OpenTelemetry have no name for.
const (
	Callback       = attribute.Key("modulebus.callback")        // its full name
	Outcome        = attribute.Key("modulebus.outcome")         // of an ask, as records spell it
	DecidedBy      = attribute.Key("modulebus.decided_by")      // the module; empty where none decided, or several together
	RosterRevision = attribute.Key("modulebus.roster_revision") // that the ask went by
	DecisionID     = attribute.Key("modulebus.decision_id")     // what busd calls the record of the ask
	Module         = attribute.Key("modulebus.module")          // that a span is about
	Worker         = attribute.Key("modulebus.worker")          // of the module, where that is known
	Said           = attribute.Key("modulebus.said")            // by a module, as records spell it; empty where nobody waits any more
	Hedged         = attribute.Key("modulebus.hedged")          // a second worker was asked
	Shadow         = attribute.Key("modulebus.shadow")          // the module never counts
)
