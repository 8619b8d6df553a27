// Package opengauss lets pgx log in to openGauss, GaussDB and their relatives
// with a password. It is of use to any program that has pgx v5; nothing in it
// knows about the rest of this module.
//
//	pool, err := pgxpool.New(ctx, url)    // "AuthenticationSASL body is invalid"
//
//	cfg, err := opengauss.ParsePoolConfig(url)
//	pool, err := pgxpool.NewWithConfig(ctx, cfg)
//
// # Why
//
// openGauss speaks PostgreSQL's protocol 3.0 except for its own password
// exchanges. They go by codes that mean something else in PostgreSQL, or
// nothing, so pgx fails before it has sent a password:
//
//	code  method       stored password  who proves what
//	10    sha256       sha256           both sides prove that they know the password
//	13    sm3          sm3              the same, with another hash
//	11    md5_sha256   sha256           only the client does
//	5     md5          md5              as in PostgreSQL; pgx does it
//
// [Configure] adds the first three to a pgx configuration. They work with and
// without TLS, with every sslmode, with several hosts and with
// target_session_attrs. They are harmless on PostgreSQL, which pgx goes on
// serving itself, SCRAM-SHA-256-PLUS with its channel binding included.
//
// # How
//
// The login works between pgx's messages and its connection. It shows pgx a
// request for the plain password in place of a challenge that pgx cannot read,
// takes the password out of pgx's answer and sends the proof instead. The
// plain password never gets to the connection that way, the password is always
// the one that pgx would use (from the URL, a passfile, or a pool's
// BeforeConnect), and pgx keeps its hands on the *tls.Conn.
//
// Of the settings of pgx, require_auth has three names more (see [Configure]), and
// channel_binding=require refuses the methods, as they have none. openGauss refuses
// protocol 3.2: max_protocol_version has to stay at pgx's default, 3.0.
//
// # What is checked, and what is not
//
// With sha256 and sm3 the server signs its challenge with a key made from the
// password, and the client sends nothing derived from the password before it
// has checked that. A server that fails gets no answer, and the caller
// [ErrServerSignature]. So does a caller with a wrong password: the server
// never hears of the attempt and does not count it towards locking the account.
//
// The signature keeps out a server that knows nothing about the account. It
// does not cover a nonce of the client, so somebody in the middle may pass on
// the challenge of the real server, and everybody who sees a challenge may
// guess passwords against it. With md5_sha256 and md5 the server signs
// nothing, which is why they are not answered over just any connection, and the
// plain password over hardly any (see [Configure]). Against all of that there is
// TLS with sslmode=verify-full.
//
// # Iteration counts
//
// The keys take a number of iterations that the server fixes when a password
// is set (its setting auth_iteration_count) and does not tell a client of
// protocol 3.0. The client tries 10000, the default, and 2048, the minimum,
// against the signature. Other counts have to be given to Configure.
//
// Protocol 3.51 of openGauss tells the count, but leaves the signature out, and
// lets an impostor choose the count. It is not used, not even after
// a mismatch: a server could bring one about.
package opengauss
