// Package subjects is the catalogue of callbacks and of the methods of the Module API, and the grammar of every NATS
// subject.
//
// # Catalogue
//
// Each callback has a variable of type [Callback], such as [UserMayCreateRoom]: its names, its messages and the options of its
// declaration in schemas. [Find] looks one up by name, and [All] and [Categories] list them. Functions that take
// an [AnyCallback] take either form. Methods of the Module API have a variable each, too, such as [APISendMail].
//
// # Grammar
//
// [For] returns the subjects of one homeserver:
//
//	subject  = "modulebus." server "." rest
//	rest     = "ask." category "." callback                          ; a homeserver asks; busd answers with a Decision
//	         / "news." module "." category "." callback              ; news for a module, to be stored: JetStream keeps it
//	         / "cb." category "." callback "." module                ; an aggregator asks a module: any worker, in a queue group
//	         / "cb." category "." callback "." module "." worker     ; the same, one worker
//	         / "web.1." module "." resource                          ; HTTP requests to a module: any worker, in a queue group
//	         / "webg.1." module "." gateway "." channel "." stream   ; frames of an HTTP stream to the gateway that asked
//	         / "webg.1." module "." client ".a.1"                    ; answers to several questions that came in one message
//	         / "webw.1." module "." worker "." channel "." stream    ; frames of an HTTP stream to the worker that answers
//	         / "module." module "." ( "entry" / "join" / "leave" / "store" )   ; a module to busd
//	         / "module." module ".stored." *OCTET                    ; JetStream to a module: a key of its store changed
//	         / "module." module ".changed"                           ; busd to a module: its Entry changed
//	         / "module." module ".decisions"                         ; busd to a module: records of decisions
//	         / "module." module ".api." method                       ; a module to its homeserver
//	         / "module." module ".api_cancel"                        ; the reply to such a call is no longer wanted
//	         / "module." module ".cancel"                            ; an aggregator to a module: an answer is no longer wanted
//	         / "module." module ".file." client "." file             ; a module reads a file that a request is about
//	         / "module." module ".inbox." worker ".>"                ; replies to one worker
//	         / "roster." ( "get" / "changed" )                       ; homeservers and busd
//	server   = token                                                 ; of the server name, such as example%2Ecom
//	module   = token                                                 ; the queue group, too
//	worker   = token
//	client   = token                                                 ; random, made anew by each homeserver's client
//	gateway  = token                                                 ; random, made anew by each gateway
//	channel  = "c" / "b"                                             ; control, and bodies
//	stream   = token                                                 ; random, or "_ctl" for what is between two processes
//	resource = token                                                 ; of the path that was registered
//	category = "spam_checker" / …                                    ; as Synapse spells it
//	callback = "user_may_create_room" / …                            ; as Synapse spells it
//
// Each subject that a module publishes or subscribes has the module's name as a token, so its permissions follow from its name,
// and no module can use a subject of another. Nothing that users write becomes part of a subject.
//
// # Tokens
//
// [Token] writes any string as one legal subject token and [ParseToken] reads it back: ASCII letters, digits, '-' and '_'
// stand for themselves, each other byte is % and two upper case hexadecimal digits, and the empty string is a lone %.
// Each string has exactly one token, and each token stands for exactly one string.
package subjects
