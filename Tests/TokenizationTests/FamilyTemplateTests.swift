import CheckpointIO
import TensorCore
import TestSupport
import Testing
import Tokenization

/// The chat templates of Fixtures/chat-templates, a family each, against what transformers makes of them
/// (`Tests/Scripts/make_family_templates.py`).
@Suite struct FamilyTemplateTests {
    static let names = [
        "qwen2", "qwen2.5", "qwen3", "qwen3.5", "gemma2", "gemma3", "llama3", "llama3.1", "llama3.2", "mistral-v1",
        "mistral-v3", "mistral-nemo", "mistral-small3", "ministral3", "mixtral", "phi3", "phi4", "phi4-mini",
        "granite3",
        "granite4", "smollm3", "olmo2", "olmo3", "glm4", "gpt-oss",
    ]
    /// Conversations of which a template without blocks does not tell that the empty thoughts in them are given to the
    /// model: the mode of thinking stands in the conversation itself.
    private static let untold: [String: Set<Int>] = ["smollm3": [19], "olmo3": [20]]
    /// Families whose calls of functions begin or end otherwise than their answers, which only blocks tell.
    private static let untoldCalls = ["llama3.1", "llama3.2", "mistral-v3", "mistral-nemo", "olmo3", "glm4", "gpt-oss"]

    private static let lines: [JSONValue] = {
        let bytes = (try? readSmallFile(fixture("chat-templates/cases.jsonl"), limit: 1 << 22)) ?? []
        return bytes.split(separator: UInt8(ascii: "\n")).compactMap { try? JSONValue.parse(Array($0)) }
    }()

    private static func family(_ name: String) throws -> JSONValue {
        try #require(lines.first { $0["name"]?.stringValue == name })
    }

    private static func template(_ name: String, hasBlocks: Bool) throws -> ChatTemplate {
        let bytes = try readSmallFile(fixture("chat-templates/\(name).jinja"), limit: 1 << 20)
        var text = String(decoding: bytes, as: UTF8.self)
        if !hasBlocks {
            for word in ["generation", "endgeneration"] {
                text = text.split(separator: "{%- \(word) -%}", omittingEmptySubsequences: false).joined()
            }
        }
        let family = try family(name)
        let special = lines[0]["special"]?.arrayValue?.compactMap(\.stringValue) ?? []
        return try ChatTemplate(
            jinja: text,
            specialTokens: [
                "bos_token": family["bos"]?.stringValue ?? "", "eos_token": family["eos"]?.stringValue ?? "",
            ],
            marks: special, clock: ChatClock(year: 2026, month: 3, day: 5, hour: 7, minute: 8, second: 9))
    }

    private static func message(_ value: JSONValue) -> ChatMessage {
        var members = value.objectValue ?? [:]
        let content = value["content"]?.stringValue
        // transformers gives thoughts by each of their names.
        let thoughts = value["reasoning_content"] ?? value["thinking"]
        if let thoughts { (members["reasoning_content"], members["thinking"]) = (thoughts, thoughts) }
        members["role"] = nil
        if content != nil { members["content"] = nil }
        return ChatMessage(role: value["role"]?.stringValue ?? "", content: content ?? "", members: members)
    }

    private static func conversation(_ number: Int) throws -> ChatConversation {
        let all = try #require(lines[0]["conversations"]?.arrayValue)
        var fields = try #require(all[number].objectValue)
        let messages = fields["messages"]?.arrayValue ?? []
        var settings = ChatSettings(
            addsGenerationPrompt: fields["add_generation_prompt"] == .bool(true), tools: fields["tools"] ?? .null,
            documents: fields["documents"] ?? .null)
        for key in ["messages", "add_generation_prompt", "tools", "documents"] { fields[key] = nil }
        settings.variables = fields
        return ChatConversation(messages.map(message), settings)
    }

    /// The stretches that are scored, in Unicode scalars, those that touch as one.
    private static func stretches(_ segments: [ChatSegment]) -> [[Int]] {
        var (found, place): ([[Int]], Int) = ([], 0)
        for segment in segments {
            let end = place + segment.text.unicodeScalars.count
            if segment.isScored { found.append([place, end]) }
            place = end
        }
        return found
    }

    @Test func everyFamilyOfTheTableIsTested() {
        #expect(Self.lines.dropFirst().compactMap { $0["name"]?.stringValue } == Self.names)
    }

    /// With `{% generation %}` blocks and without them.
    @Test(arguments: names, [true, false])
    func conversationsReadAsTransformersWritesThem(name: String, hasBlocks: Bool) throws {
        let template = try Self.template(name, hasBlocks: hasBlocks)
        for record in try #require(Self.family(name)["cases"]?.arrayValue) {
            let parts = try #require(record.arrayValue)
            let number = try #require(parts[0].intValue)
            let conversation = try Self.conversation(number)
            guard let text = parts[1].stringValue else {
                #expect(throws: TokenizationError.self, "\(name) \(number)") { try template.segments(of: conversation) }
                continue
            }
            let segments = try template.segments(of: conversation)
            #expect(Array(segments.map(\.text).joined().utf8) == Array(text.utf8), "\(name) \(number)")
            let calls = conversation.messages.contains { $0.members["tool_calls"] != nil }
            let isUntold =
                Self.untold[name]?.contains(number) == true || calls && Self.untoldCalls.contains(name)
            guard hasBlocks || !isUntold
            else { continue }
            let said = (parts[2].arrayValue ?? []).map { $0.arrayValue?.compactMap(\.intValue) ?? [] }
            #expect(Self.stretches(segments) == said.filter { $0[0] < $0[1] }, "\(name) \(number)")
        }
    }

    /// What ends an assistant's turn is known, with blocks and without.
    @Test(arguments: names, [true, false])
    func endsOfTurnsAreFound(name: String, hasBlocks: Bool) throws {
        let (template, family) = (try Self.template(name, hasBlocks: hasBlocks), try Self.family(name))
        #expect(template.ownEndOfTurn == family["end"]?.stringValue)
        #expect(template.endOfTurn == family["end"]?.stringValue ?? family["between"]?.stringValue)
    }

    /// The last id of each answer is that of the mark which ends it.
    @Test(arguments: names)
    func answersEndInTheIDOfTheirMark(name: String) throws {
        let family = try Self.family(name)
        let (ids, special) = (Self.lines[0]["ids"]?.arrayValue, Self.lines[0]["special"]?.arrayValue)
        let mark = try #require(family["between"]?.stringValue)
        let place = try #require(special?.firstIndex { $0.stringValue == mark })
        #expect(family["betweenID"]?.intValue == ids?[place].intValue)
        for record in family["cases"]?.arrayValue?.prefix(2) ?? [] {
            guard let parts = record.arrayValue, parts.count == 5, parts[2].arrayValue?.count == 2 else { continue }
            let ids = parts[3].arrayValue?.compactMap(\.intValue) ?? []
            let scored = parts[4].arrayValue?.compactMap(\.intValue) ?? []
            let end = try #require(scored.indices.dropLast().first { scored[$0 + 1] != scored[$0] + 1 })
            #expect(ids[scored[end]] == family["betweenID"]?.intValue)
        }
    }
}
