// Package speech gives agents a voice and ears: texts become sound by recorded
// prompts or by espeak-ng, and the callee's words come from the recognisers.
//
// Synth implements agent.Sounds. It looks for a text in this order: the operator's
// folder of WAV prompts, the prompts that ship with the binary (the sentences of the
// demo and the fixture, in the house's own voice), then espeak-ng as an external process. What was found is
// kept in a cache bounded by bytes. A Synth may be used by many goroutines at once; it
// starts none. A slow espeak-ng delays a dial by its timeout at most; at most
// Concurrency processes run at a time. Nothing here runs on the media thread, except
// SimRecognizer.Frame.
//
// SimRecognizer implements agent.Recognizer for the simulated carrier's callees, whose
// words travel inside their audio (audio.ModemDecoder). It is refused on every
// other line: there is nothing to hear there.
//
// Chat asks language models behind OpenAI-compatible servers, streamed or whole. Its errors say how far the question came and whether asking again may
// help, and repeat no word of the server's; it bounds answers, and three times: to the first word, between words, in all. Which addresses
// it may reach is its http.Client's affair. ChatServer is the scripted far end, for tests and demonstrations: it checks what clients send.
//
// To test without espeak-ng set Options.Espeak to "off"; the shipped prompts are made anew by
// `go test ./speech -run Prompts -update`, which needs it.
package speech
