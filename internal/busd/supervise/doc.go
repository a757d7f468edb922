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
// A worker that ends without having been asked to, whatever its exit status, is started again after a delay. The delay
// doubles each time, and is short again after a worker that stayed up. Exit status 78 ([Refused]) says that the module
// refused its configuration: only [Group.Reconfigure] starts it again. A command that cannot be started counts as a
// worker that ended, and is tried again, because the operator may be about to install it.
//
// `go run` exits with 1 for any error of its program, so a refusal under it looks like any crash.
//
// [Group.Restart] replaces each process with a new one, without a moment in which none runs. [Group.End] ends one that is of no
// use, such as one that never joins, and another is started in its place. See ADR 121.
//
// # Death of a worker
//
// A worker is a process group, because programs that start the real worker (`go run`, a shell) do not forward signals.
// The group gets SIGTERM once, has [Options.Drain] to end, and then gets SIGKILL. The same happens to what a crashed
// worker leaves behind, before the next one starts. A process that has left the group (setsid) is not ended; its output
// is no longer read.
//
// On Linux a worker also gets SIGTERM, perhaps more than once, when the supervising process dies without a chance to do
// all this. That reaches the process that was started, not its children: the program under a `go run` ends at its next write to stdout or
// stderr, which are then broken pipes.
//
// # Output
//
// stdout and stderr go to the log line by line; see package childlog. A line without a level is logged at info from
// stdout, and at warn from stderr: a line without a level on stderr is most often part of a stack, a usage text or a
// compiler's error, and must not be dropped by `--log-level warn`. Routine messages belong on stdout, or should have a
// level.
//
// # Concurrency
//
// Each worker has one goroutine, held to its own OS thread while a process runs, and one per output. Run owns them all.
package supervise
