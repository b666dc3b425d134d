import TensorCore
import Testing

@Suite struct WordingTests {
    private enum Failure: WordedError {
        case exists(String)

        var exitStatus: TensorCore.ExitStatus { .cannotCreate }
        var wording: Wording {
            switch self {
            case .exists(let path): "\(path): exists; pass \(.replaces, true)"
            }
        }
    }

    /// A spelling as a program may have it.
    private func option(_ parameter: Parameter, _ value: String?) -> String {
        "<\(parameter.name)\(value.map { "=" + $0 } ?? "")>"
    }

    @Test func parametersAreSpelledAsInSwiftUnlessAProgramSaysOtherwise() {
        let words: Wording = "a smaller \(.thresholdStep) or \(.lambda, 0.5) for \(3) steps"
        #expect(words.description == "a smaller s or lambda: 0.5 for 3 steps")
        #expect(words.text(option) == "a smaller <s> or <lambda=0.5> for 3 steps")
        let key: Wording = "\(.methodOption("target_r")) is unknown"
        #expect("\(key)" == "target_r is unknown" && key.text(option) == "<target_r> is unknown")
    }

    @Test func errorsAndWordingsWithinKeepTheirParameters() {
        let error: any Error = Failure.exists("out")
        #expect("\(error)" == "out: exists; pass replaces: true")
        let outer: Wording = "cannot train: \(error)" + "; or choose \(.output)"
        #expect(outer.text(option) == "cannot train: out: exists; pass <replaces=true>; or choose <output>")
        let inner: Wording = "\(outer as Wording?)"
        #expect(inner.text(option).contains("<output>"))
        #expect(Wording(error).text(option) == "out: exists; pass <replaces=true>")
        #expect(Wording(ParserFailure()).text(option) == "no words")
    }

    private struct ParserFailure: Error, CustomStringConvertible {
        let description = "no words"
    }

    @Test func equalWordsAreEqualHoweverTheyWereMade() {
        let name = "b"
        #expect("a\(name)c" as Wording == "abc")
        #expect("a" as Wording + "b" + "c" == "abc")
        #expect("\(.keep)" as Wording != "keep")
    }
}
