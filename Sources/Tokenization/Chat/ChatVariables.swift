import CheckpointIO

extension JinjaValue {
    /// A JSON value as a template sees it; `mark` is the message whose words its texts are.
    init(_ value: JSONValue, mark: Int? = nil) throws(JinjaError) {
        switch value {
        case .null: self = .none
        case .bool(let value): self = .bool(value)
        case .number(let text):
            if text.contains(where: { ".eE".contains($0) }) {
                self = .float(Double(text) ?? 0)
            } else if let number = Int(text) {
                self = .integer(number)
            } else {
                throw .failed("the number \(text.prefix(40)) has more than 64 bits")
            }
        case .string(let text): self = .text(JinjaText(text, message: mark))
        case .array(let values):
            var elements: [JinjaValue] = []
            for value in values { elements.append(try JinjaValue(value, mark: mark)) }
            self = .list(try JinjaList(elements))
        case .object(let object):
            var members: [(key: JinjaValue, value: JinjaValue)] = []
            for key in object.keys { members.append((.plain(key), try JinjaValue(object[key] ?? .null, mark: mark))) }
            self = .dictionary(try JinjaDictionary(members))
        }
    }

    /// A message as a template sees it: what the assistant says is marked with the message's number.
    init(_ message: ChatMessage, number: Int) throws(JinjaError) {
        let mark = message.role == "assistant" ? number : nil
        var members: [(key: JinjaValue, value: JinjaValue)] = [
            (.plain("role"), .plain(message.role)),
            (.plain("content"), .text(JinjaText(message.content, message: mark))),
        ]
        for key in message.members.keys where key != "role" {
            let value = try JinjaValue(message.members[key] ?? .null, mark: mark)
            // A member that is null is one that is not there, as transformers has it.
            if key == "content" {
                if value.isNone { members.removeAll { $0.key.asText?.string == key } } else { members[1].value = value }
            } else if !value.isNone {
                members.append((.plain(key), value))
            }
        }
        self = .dictionary(try JinjaDictionary(members))
    }
}
