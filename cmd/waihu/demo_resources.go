package main

import "waihu/store"

const callsPerPage = 500

func callPage(n int) store.CallFilter { return store.CallFilter{Page: n, PerPage: callsPerPage} }

// demoResources is the demonstration's world: one account, the simulated carrier, all day, one agent.
const demoResources = `accounts:
  - {id: $ACCOUNT, name: demo, tokens: [{name: demo, token: $TOKEN}]}
lines:
  - id: $LINE
    name: simulated carrier
    concurrency: $CAP
    trunk: {uri: "sim:demo", caller_ids: ["02160001000"], codecs: [pcma, pcmu], ring_timeout: $RING, max_call: 60}
calling_hours:
  - {id: 1, name: all day, default: true, weekly: {all: ["00:00-24:00"]}}
agents:
  - id: "123"
    name: 回访
    version: 1
    language: zh-CN
    vars: {name: {type: text}}
    opening: {wait_ms: 1200, say: "您好，{{name|您}}，请问昨天收到的货物完好吗？完好请按一，不完好请按二。"}
    intents:
      fine:   {any: [完好, 没问题, 是的, 好的], dtmf: "1"}
      broken: {any: [坏了, 破损, 不完好], dtmf: "2"}
      stop:   {any: [别打了, 不需要], dtmf: "9", do: [opt_out, {say: 好的，不再打扰。}, hangup]}
    brain: flow
    flow:
      start: ask
      nodes:
        ask:   {branches: [{on: fine, tag: 完好, go: bye}, {on: broken, tag: 破损, go: sorry}], else: {times: 2, say: 不好意思没听清，完好请按一，不完好请按二。, then: bye}}
        sorry: {say: 非常抱歉，我们会尽快为您补发。, go: bye}
        bye:   {say: 感谢您的接听，再见。, do: [hangup]}
    grade:
      - {level: A, when: "tag('完好')"}
      - {level: B, when: "tag('破损')"}
      - {level: E, when: "true"}
`
