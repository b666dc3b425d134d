import Testing

@testable import Threads

@Suite struct WaitingRuleTests {
    @Test func threadsSpinOnAQuietMachine() {
        var rule = WaitingRule()
        for _ in 0..<1000 { rule.note(waited: 0.02) }
        #expect(!rule.sleeps)
    }

    @Test func threadsSleepAtTheFirstLookThatFindsOthersAtWork() {
        var rule = WaitingRule()
        rule.note(waited: 0)
        rule.note(waited: 0.5)
        #expect(rule.sleeps)
    }

    @Test func threadsSpinAgainOnceTheMachineHasBeenQuietForAWhile() {
        var rule = WaitingRule()
        rule.note(waited: 1)
        var looks = 0
        while rule.sleeps, looks < 1000 {
            rule.note(waited: 0)
            looks += 1
        }
        #expect((2...20).contains(looks))
    }

    /// Others that only seem to be quiet while our threads sleep: ever fewer attempts.
    @Test func attemptsThatFailBecomeRarer() {
        var rule = WaitingRule()
        var attempts = 0
        for _ in 0..<1000 {
            rule.note(waited: rule.sleeps ? 0 : 1)
            if !rule.sleeps { attempts += 1 }
        }
        #expect(attempts < 12)
    }
}
