import CheckpointIO
import TensorCore
import TestSupport
import Testing

@testable import Tokenization

/// Templates against what transformers makes of them (`Tests/Scripts/make_template_cases.py`).
@Suite struct TemplateLanguageTests {
    private static func lines() throws -> [JSONValue] {
        let bytes = try readSmallFile(fixture("tokenization/templates.jsonl"), limit: 1 << 24)
        return try bytes.split(separator: UInt8(ascii: "\n")).map { try JSONValue.parse(Array($0)) }
    }

    static func rendered(_ template: String, _ variables: JSONValue? = nil) throws(JinjaError) -> String {
        let (statements, blocks) = try JinjaParser.parse(template)
        let clock = ChatClock(year: 2026, month: 3, day: 5, hour: 7, minute: 8, second: 9)
        var values: NameTable<JinjaValue> = [:]
        for key in variables?.objectValue?.keys ?? [] { values[key] = try JinjaValue(variables?[key] ?? .null) }
        return try JinjaRun.run(statements, blocks: blocks, variables: values, clock: clock).text.string
    }

    @Test func everyCaseReadsAsTransformersWritesIt() throws {
        let lines = try Self.lines()
        let contexts = try #require(lines.first?.arrayValue)
        var (count, differing) = (0, 0)
        for line in lines.dropFirst() {
            let parts = try #require(line.arrayValue)
            let template = try #require(parts[0].stringValue)
            count += 1
            let expected = parts[2].stringValue
            var (found, problem) = (String?.none, "")
            do {
                found = try Self.rendered(template, contexts[parts[1].intValue ?? 0])
            } catch {
                problem = "\(error)"
            }
            if found.map({ Array($0.utf8) }) == expected.map({ Array($0.utf8) }) { continue }
            differing += 1
            print("differs: \(template)\n    transformers: \(expected ?? "fails")\n    here: \(found ?? problem)")
        }
        print("\(count) templates, \(differing) of which differ")
        #expect(count >= 500)
        #expect(differing == 0)
    }
}
