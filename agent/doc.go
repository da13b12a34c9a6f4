// Package agent holds the conversation: turn taking over media time, the flow
// that decides what to say, the transcript, and the facts by which a call is graded.
//
// Before the dial, Prepare turns an agent's spec and a number's variables into a
// Script whose every sound is ready. At the answer, Script.Start makes a
// Conversation, a pure state machine: each 20 ms its Frame takes what the callee
// sent and fills what the callee shall hear. It reads no clock (the frame count
// is the clock), starts no goroutine, waits for nothing and allocates nothing
// between turns, so it runs inline on the media thread. The same frames and the
// same events of the recogniser give the same conversation.
//
// The room declares its ports: Sounds (text to samples, used by Prepare only) and
// Recognizer (samples to text, polled once a frame). A slow or failing Sounds
// delays or refuses the dial, never a live call; a slow Recognizer costs a turn,
// which is then decided on the partial text or as mere speech.
//
// Concurrency: a Script is read-only once prepared. A Conversation belongs to the goroutine
// that calls Frame; Done, End and the reading methods may be called by others only after
// Frame is no longer called. Check, Usable, Grade, Prepare and Dialogue may be called by many.
//
// To test a flow without sound use Dialogue; to test with sound feed frames, as
// turn_test.go does. Nothing here needs a socket.
package agent
