// Package carrier is a telephone network in a box: a carrier with real SIP over UDP
// and TCP and real RTP, whose callees follow scripts chosen by the last two digits of
// the called number. `waihu carrier` serves it, lines whose trunk is `sim:` use it,
// and it is the far end of the house's tests.
//
// It judges its callers while it serves them. Whatever breaks a rule of SIP or RTP
// becomes a Finding with the section of the RFC. Findings are about logic, not about
// speed: a slow machine makes none unless Options.MaxGap asks for it. It also counts
// like a carrier counts (Peak, Callers, Hosts): a call is live from its INVITE to its
// final failure, its BYE or the end of its CANCEL.
//
// It shares no code with the rooms sip and media, so that their mistakes cannot hide
// here: messages are parsed by sipgo, but transactions, dialogs, session descriptions,
// digest and RTP are its own. Transactions are its own because one that absorbs
// repeated requests and the ACK of a failure leaves a judge nothing to see.
//
// Everything a callee does follows from Options.Seed and the number: the same seed
// gives the same calls. Speed shortens ringing, announcements and pauses of the
// network; speech is as long as it is.
//
// New opens the sockets; Run serves until its context ends, then waits for every
// goroutine. All methods may be called at any time from any goroutine. A call costs a
// goroutine, an RTP and an RTCP socket with a reader each; one goroutine paces the
// packets of all calls and allocates nothing per packet. A call whose inbox is full
// loses messages, as UDP does.
//
// Subtitles: what a callee says after the answer is written into its voice by the
// modem of audio.UnderSpeech. A caller that sends modem tones itself breaks a rule.
//
// Testing: raw UDP callers, right and deliberately wrong, and sipp when it is installed.
package carrier
