import Foundation
import TestSupport
import Testing

/// Functions and initialisers with long lists of parameters: what belongs together should be a struct.
@Suite struct ParameterListTests {
    private static let limit = 7

    /// A declaration up to the parenthesis of its parameters, whatever its modifiers and attributes are.
    private static let declaration = try! NSRegularExpression(
        pattern: #"^ *((@\w+(\([^)]*\))?|[a-z]+)\s+)*(func\s+[^\s(<]+|init[?!]?|subscript) *(<[^(]*>)? *\("#,
        options: .anchorsMatchLines)

    /// How many parameters the list has whose opening parenthesis the text starts behind.
    private static func parameterCount(_ text: ArraySlice<UInt8>) -> Int {
        var (depth, commas, isEmpty) = (1, 0, true)
        var before: Unicode.Scalar = " "
        var rest = text
        while depth > 0, let character = rest.popFirst().map(Unicode.Scalar.init) {
            switch character {
            case "(", "[", "{": depth += 1
            case ")", "]", "}": depth -= 1
            // Generic arguments, not an operator, which has a space before it.
            case "<" where before.properties.isAlphabetic: depth += 1
            case ">" where before != "-" && before != " ": depth -= 1
            case "," where depth == 1: commas += 1
            case "\"": rest = rest.drop { $0 != UInt8(ascii: "\"") }.dropFirst()
            case "/" where before == "/": rest = rest.drop { $0 != UInt8(ascii: "\n") }
            default: break
            }
            isEmpty = isEmpty && (depth == 0 || character.properties.isWhitespace)
            before = character
        }
        return isEmpty ? 0 : commas + 1
    }

    /// The declarations of a source with their counts.
    private static func declarations(_ source: String) -> [(name: String, count: Int)] {
        // One byte a character, as the regular expression counts in UTF-16.
        let bytes = source.utf8.map { $0 < 0x80 ? $0 : UInt8(ascii: "_") }
        let text = String(decoding: bytes, as: UTF8.self)
        return declaration.matches(in: text, range: NSRange(0..<bytes.count)).map { match in
            let end = match.range.location + match.range.length
            let name = String(decoding: bytes[match.range.location..<end], as: UTF8.self)
            return (name.trimmingCharacters(in: .whitespaces), parameterCount(bytes[end...]))
        }
    }

    @Test func parametersAreCounted() {
        let source = """
            package init() {}
            // func commented(a: Int) {}
            self.init(a, b)
            @discardableResult package static func f<T: P>(_ a: [Int: T], b: (Int, Int) -> Void = { _, _ in }) {
            private func g(
                _ a: Int = 1 << 2, text: String = ", (", d: Result<Int, Failure>,
                e: [String]
            ) -> (Int, Int) {
            """
        #expect(Self.declarations(source).map(\.count) == [0, 2, 4])
    }

    @Test func noListIsLongerThanSeven() throws {
        let sources = packageRoot + "/Sources"
        let files = FileManager.default.enumerator(atPath: sources)!.compactMap { $0 as? String }
            .filter { $0.hasSuffix(".swift") }
        #expect(files.count > 100)
        for file in files {
            let text = try String(contentsOfFile: sources + "/" + file, encoding: .utf8)
            for (name, count) in Self.declarations(text) where count > Self.limit {
                Issue.record("\(file): \(name)...) takes \(count) parameters")
            }
        }
    }
}
