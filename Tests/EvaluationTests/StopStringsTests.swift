import Evaluation
import TensorCore
import Testing

@Suite struct StopStringsTests {
    private func run(_ stops: [String], _ pieces: [String]) -> (text: String, isEnded: Bool) {
        var strings = StopStrings(stops)
        var text = ""
        for piece in pieces where !strings.isEnded { text += strings.append(piece) }
        return (text + strings.finish(), strings.isEnded)
    }

    @Test func textBehindTheFirstStopIsLeftOutHoweverItComes() {
        let text = "One.\n\nQuestion: twö? Answer: End of it"
        var stream = RandomStream(seed: 4)
        for (stops, expected) in [
            (["\n\nQuestion"], "One."), (["zzz"], text), ([], text), ([""], text),
            (["End", "Answer"], "One.\n\nQuestion: twö? "),
            (["ö?"], "One.\n\nQuestion: tw"), (["of it!", "it"], "One.\n\nQuestion: twö? Answer: End of "),
            (["nn", "n:"], "One.\n\nQuestio"), (["One."], ""),
        ] {
            for _ in 0..<40 {
                var pieces: [String] = []
                var rest = Substring(text)
                while !rest.isEmpty {
                    let count = 1 + stream.nextIndex(below: 7)
                    pieces.append(String(rest.prefix(count)))
                    rest = rest.dropFirst(count)
                }
                let found = run(stops, pieces)
                #expect(found.text == expected && found.isEnded == (expected != text), "\(stops) in \(pieces)")
            }
        }
    }

    @Test func whatCannotBeAStopAnyMoreIsHandedOnAtOnce() {
        var strings = StopStrings(["\n\nQ"])
        #expect(strings.append("a\n") == "a")
        #expect(strings.append("\n") == "")
        #expect(strings.append("\n") == "\n")
        #expect(strings.append("b") == "\n\nb")
        #expect(strings.append("\n\nQ and so on") == "" && strings.isEnded)
        #expect(strings.append("more") == "" && strings.finish() == "")
    }
}
