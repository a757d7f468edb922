// Package supervise keeps the worker processes of a module running.
//
//	g := supervise.New(supervise.Options{
//		Module:   "demo",
//		Command:  []string{"go", "run", "./cmd/demo-module"},
//		Env:      append(supervise.Environment(os.Environ(), nil), "MODULEBUS_NATS_URL=nats://127.0.0.1:4222"),
//		Workers:  2,
//		WorkerID: func(int) string { return nuid.Next() },
//		Exited:   func(e supervise.Exit) { roster.Drop(e.ID) },
//		Log:      log,
//	})
//	err := g.Run(ctx) // until ctx ends and every process is gone
//
// # Life of a worker
//
// A worker that ends without having been asked to, whatever its exit status, is started again after a delay that
// doubles each time, and begins anew after a worker that stayed up. Exit status 78 ([Refused]) says that the module
// refused its configuration: it is started again by [Group.Reconfigure] and by nothing else. A command that cannot be
// started is a worker that ended; it is tried again like one, for the operator may be about to install it.
//
// `go run` exits with 1 whatever its program did, so a refusal under it is a crash like any other.
//
// [Group.Restart] puts a new process in the place of each, without a moment in which there is none.
//
// # Death of a worker
//
// A worker is a process group, because programs that start the real worker (`go run`, a shell) do not forward signals.
// The group gets SIGTERM once, has [Options.Drain] to end, and then gets SIGKILL. The same happens to what a crashed
// worker leaves behind, before the next one starts. A process that left the group on purpose (setsid) is its own
// master and stays; its output is no longer read.
//
// On Linux a worker also gets SIGTERM, perhaps more than once, when the supervising process dies without a chance to do
// all this. That reaches the process that was started, not its children: the program under a `go run` ends at its next write to stdout or
// stderr, which are then broken pipes.
//
// # Output
//
// stdout and stderr go to the log line by line; see package childlog. A line without a level is logged at info from
// stdout, and at warn from stderr, because what is there without a level is most often a stack, a usage text or a
// compiler's complaint, and must survive `--log-level warn`; routine news belongs on stdout or under a level.
//
// # Concurrency
//
// Each worker has one goroutine, held to its own OS thread while a process runs, and one per output. Run owns them all.
package supervise
