import CheckpointIO
import TensorCore
import Tokenization

/// Writes conversations in a model's chat template, and sees to it that nothing of them is lost in silence: what the
/// template passes over is refused by name.
package struct ConversationWriter {
    private let template: ChatTemplate
    /// The fields in which the template takes what the assistant thought.
    private let reasoningFields: [String]
    /// Whether the template writes a picture's mark for a part of the type `image`.
    private let takesImageParts: Bool

    /// A writer for a template.
    package init(_ template: ChatTemplate) {
        self.template = template
        let trial = ChatMessage(role: "user", content: "", members: Self.parts(images: 1, text: "qzq"))
        let text = (try? template.rendering(of: [trial]))?.text ?? ""
        takesImageParts = text.contains("qzq") && text.contains(ImageOptions.mark)
        reasoningFields = ChatRecord.reasoningFields.filter { field in
            let trial = [
                ChatMessage(role: "user", content: "qzq"),
                ChatMessage(role: "assistant", content: "xvx", members: [field: .string("wjw")]),
            ]
            return (try? template.rendering(of: trial))?.text.contains("wjw") ?? false
        }
    }

    /// The members of a message with pictures and a text.
    private static func parts(images: Int, text: String) -> JSONObject {
        let image = JSONValue.object(["type": .string("image")])
        let words: JSONObject = ["type": .string("text"), "text": .string(text)]
        return ["content": .array([JSONValue](repeating: image, count: images) + [.object(words)])]
    }

    /// A message whose marks of pictures stand in its text as the template writes pictures: as parts of their own before the
    /// text, for a template that knows of such parts.
    package func placingImages(_ message: ChatMessage) -> ChatMessage {
        guard takesImageParts, message.members["content"] == nil else { return message }
        let pieces = message.content.split(separator: ImageOptions.mark, omittingEmptySubsequences: false)
        guard pieces.count > 1 else { return message }
        var text = pieces.joined().utf8[...]
        text = text.drop(while: isWhiteSpace)
        while let last = text.last, isWhiteSpace(last) { text.removeLast() }
        var placed = message
        placed.content = String(decoding: text, as: UTF8.self)
        placed.members["content"] = Self.parts(images: pieces.count - 1, text: placed.content)["content"]
        return placed
    }

    /// The text of a record's conversation, and what of it the model is to say.
    func segments(of record: ChatRecord, at place: RecordPlace) throws(DataError) -> [ChatSegment] {
        let record = try prepared(record, at: place)
        let conversation = record.conversation
        var segments: [ChatSegment]
        var written = conversation
        do throws(TokenizationError) {
            segments = try template.segments(of: conversation)
            if hasParts(conversation), !holdsWords(of: conversation, text(segments)) {
                written = joined(conversation)
                segments = try template.segments(of: written)
            }
        } catch {
            guard hasParts(conversation) else { throw .chat(place, field: record.field, error) }
            written = joined(conversation)
            do throws(TokenizationError) {
                segments = try template.segments(of: written)
            } catch {
                throw .chat(place, field: record.field, error)
            }
        }
        try checkNothingIsLost(of: written, record, text(segments), at: place)
        return segments
    }

    private func text(_ segments: [ChatSegment]) -> String { segments.map(\.text).joined() }

    /// The record with ends of turns that the template writes itself taken from its texts, and thoughts in the field in
    /// which the template looks for them.
    private func prepared(_ record: ChatRecord, at place: RecordPlace) throws(DataError) -> ChatRecord {
        var record = record
        for (index, message) in record.conversation.messages.enumerated() where message.role == "assistant" {
            if message.members["content"] == nil {
                record.conversation.messages[index].content = withoutEnd(message.content)
            }
            guard let field = ChatRecord.reasoningFields.first(where: { message.members[$0] != nil }),
                !reasoningFields.contains(field)
            else { continue }
            guard let known = reasoningFields.first else {
                throw .unusableField(
                    place, field: "\(record.names[index]).\(field)",
                    problem: "is not written by the model's chat template; write it into the message's text")
            }
            record.conversation.messages[index].members[known] = message.members[field]
            record.conversation.messages[index].members[field] = nil
        }
        return record
    }

    /// A text without the end of its turn that the template writes behind it once more.
    private func withoutEnd(_ text: String) -> String {
        guard let end = template.ownEndOfTurn.map({ Array($0.utf8) }) else { return text }
        let bytes = Array(text.utf8)
        let length = (bytes.lastIndex { !isWhiteSpace($0) } ?? -1) + 1
        guard length >= end.count, bytes[length - end.count..<length].elementsEqual(end) else { return text }
        return String(decoding: bytes[..<(length - end.count)], as: UTF8.self)
    }

    // MARK: Words in parts

    private func hasParts(_ conversation: ChatConversation) -> Bool {
        conversation.messages.contains { $0.members["content"]?.arrayValue != nil }
    }

    /// The conversation with each turn's parts as one text, for templates that know nothing of parts.
    private func joined(_ conversation: ChatConversation) -> ChatConversation {
        var conversation = conversation
        for index in conversation.messages.indices
        where conversation.messages[index].members["content"]?.arrayValue != nil {
            conversation.messages[index].members["content"] = nil
        }
        return conversation
    }

    private func holdsWords(of conversation: ChatConversation, _ text: String) -> Bool {
        var finder = TextFinder(text)
        return conversation.messages.allSatisfy { message in
            let parts = message.members["content"]?.arrayValue
            return (parts?.compactMap { $0["text"]?.stringValue } ?? [message.content]).allSatisfy { finder.holds($0) }
        }
    }

    // MARK: What is lost

    private func checkNothingIsLost(
        of conversation: ChatConversation, _ record: ChatRecord, _ text: String, at place: RecordPlace
    ) throws(DataError) {
        func check(_ field: String, _ without: (inout ChatConversation) -> Void) throws(DataError) {
            var changed = conversation
            without(&changed)
            // A template that refuses the conversation without something heeds it.
            guard let other = try? template.rendering(of: changed.messages, changed.settings),
                other.text.hasSameBytes(as: text)
            else {
                return
            }
            throw .unusableField(place, field: field, problem: "is not written by the model's chat template")
        }
        if !conversation.settings.tools.isNull { try check("tools") { $0.settings.tools = .null } }
        if !conversation.settings.documents.isNull { try check("documents") { $0.settings.documents = .null } }
        var finder = TextFinder(text)
        for (index, message) in conversation.messages.enumerated() {
            let name = record.names[index]
            if message.members["tool_calls"] != nil {
                try check("\(name).tool_calls") { $0.messages[index].members["tool_calls"] = nil }
            }
            if !finder.holds(message.content) {
                try check(name) {
                    $0.messages[index].content += "qzq"
                    $0.messages[index].members["content"] = nil
                }
            }
        }
    }
}

/// Looks for texts in another, which mostly follow one another there.
private struct TextFinder {
    private let bytes: [UInt8]
    private var place = 0

    init(_ text: String) { bytes = Array(text.utf8) }

    /// Whether `text`, without white space around it, stands there.
    mutating func holds(_ text: String) -> Bool {
        let rest = text.utf8.drop(while: isWhiteSpace)
        let pattern = Array(rest.prefix(rest.count - rest.reversed().prefix(while: isWhiteSpace).count))
        guard let found = find(pattern, from: place) ?? find(pattern, from: 0) else { return false }
        place = found + pattern.count
        return true
    }

    private func find(_ pattern: [UInt8], from start: Int) -> Int? {
        guard let first = pattern.first else { return start }
        guard start + pattern.count <= bytes.count else { return nil }
        return (start...bytes.count - pattern.count).first {
            bytes[$0] == first && bytes[$0..<$0 + pattern.count].elementsEqual(pattern)
        }
    }
}

/// White space of ASCII.
func isWhiteSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
