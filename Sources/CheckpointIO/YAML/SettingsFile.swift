import CYaml
import TensorCore

/// A file of settings in YAML, or in JSON, which is a form of it: one mapping of keys to scalars and lists of scalars.
///
/// Nothing else is taken: nesting, anchors, aliases, tags and several documents are refused by name, so that a small
/// file cannot become a large value and no key is passed over.
package struct SettingsFile: Sendable {
    /// A single value.
    package struct Scalar: Sendable, Equatable {
        /// The text, without quotes.
        package let text: String
        /// Whether it stands without quotes, so that it may be a number, a word of truth or null.
        package let isPlain: Bool

        /// Whether it says that there is no value.
        package var isNull: Bool { isPlain && ["", "~", "null", "Null", "NULL"].contains(text) }

        /// The word of truth that it is; nil for anything else.
        package var truth: Bool? {
            guard isPlain else { return nil }
            return switch text {
            case "true", "True", "TRUE": true
            case "false", "False", "FALSE": false
            default: nil
            }
        }
    }

    /// What a key has.
    package enum Value: Sendable, Equatable {
        /// One value.
        case scalar(Scalar)
        /// Several.
        case list([Scalar])
    }

    /// A key and its value.
    package struct Entry: Sendable, Equatable {
        /// The key as it stands.
        package let key: String
        /// Its line, from 1.
        package let line: Int
        /// Its value.
        package let value: Value
    }

    /// The file's path.
    package let path: String
    /// The keys in their order; a key may stand twice.
    package let entries: [Entry]

    /// Bytes of a file at most.
    private static let byteLimit = 1 << 20

    /// Reads a file. Throws `CheckpointError.malformed` with the line for what it may not hold, and what reading throws.
    package static func read(_ path: String) throws(CheckpointError) -> SettingsFile {
        var reader = EventReader(try readSmallFile(path, limit: byteLimit), file: path)
        return SettingsFile(path: path, entries: try reader.mapping())
    }
}

/// Walks through the events of libyaml's parser.
private struct EventReader {
    /// An event that matters here.
    private enum Event {
        case scalar(SettingsFile.Scalar)
        case beginList
        case endList
        case beginMapping
        case endMapping
        case beginDocument
        case endDocument
        case end
    }

    /// Owns the parser and the bytes that it reads.
    private final class Parser {
        var parser = yaml_parser_t()
        private let bytes: UnsafeMutableBufferPointer<UInt8>

        init(_ source: [UInt8]) {
            bytes = .allocate(capacity: source.count)
            _ = bytes.initialize(from: source)
            // It fails for want of memory alone.
            precondition(yaml_parser_initialize(&parser) == 1, "there is memory for a parser")
            yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING)
            yaml_parser_set_input_string(&parser, bytes.baseAddress, bytes.count)
        }

        deinit {
            yaml_parser_delete(&parser)
            bytes.deallocate()
        }
    }

    private let parser: Parser
    private let file: String
    private var line = 1

    init(_ bytes: [UInt8], file: String) {
        // A mark of byte order is no part of the text; the encoding is known.
        parser = Parser(Array(bytes.withoutByteOrderMark))
        self.file = file
    }

    private func malformed(_ problem: String) -> CheckpointError {
        .malformed(file: "\(file), line \(line)", problem: problem)
    }

    /// The file's one mapping.
    mutating func mapping() throws(CheckpointError) -> [SettingsFile.Entry] {
        guard case .beginDocument = try next() else {
            throw malformed("holds no settings; a key and a value are needed")
        }
        guard case .beginMapping = try next() else {
            throw malformed("holds no keys and values, such as 'rank: 8'")
        }
        var entries: [SettingsFile.Entry] = []
        while true {
            switch try next() {
            case .endMapping:
                guard case .endDocument = try next(), case .end = try next() else {
                    throw malformed("begins a second document; one is taken")
                }
                return entries
            case .scalar(let key):
                let keyLine = line
                let value = try value(of: key.text)
                entries.append(SettingsFile.Entry(key: key.text, line: keyLine, value: value))
            default: throw malformed("a key is a word, such as 'rank'")
            }
        }
    }

    private mutating func value(of key: String) throws(CheckpointError) -> SettingsFile.Value {
        switch try next() {
        case .scalar(let scalar): return .scalar(scalar)
        case .beginList:
            var list: [SettingsFile.Scalar] = []
            while true {
                switch try next() {
                case .scalar(let scalar): list.append(scalar)
                case .endList: return .list(list)
                default: throw nested(key)
                }
            }
        default: throw nested(key)
        }
    }

    private func nested(_ key: String) -> CheckpointError {
        malformed("'\(key.beginning(60))' holds keys or lists of its own; a value or a list of values is needed")
    }

    /// The next event, at whose line `line` then is.
    private mutating func next() throws(CheckpointError) -> Event {
        while true {
            var event = yaml_event_t()
            guard yaml_parser_parse(&parser.parser, &event) == 1 else {
                line = Int(clamping: parser.parser.problem_mark.line).addingReportingOverflow(1).partialValue
                let problem = parser.parser.problem.map { String(cString: $0) } ?? "it cannot be read"
                throw malformed("not valid YAML: \(problem)")
            }
            defer { yaml_event_delete(&event) }
            line = Int(clamping: event.start_mark.line).addingReportingOverflow(1).partialValue
            switch event.type {
            case YAML_DOCUMENT_START_EVENT: return .beginDocument
            case YAML_DOCUMENT_END_EVENT: return .endDocument
            case YAML_STREAM_END_EVENT: return .end
            case YAML_ALIAS_EVENT: throw malformed("an alias (*) is not taken; write the value out")
            case YAML_SEQUENCE_START_EVENT:
                try refuse(event.data.sequence_start.anchor, event.data.sequence_start.tag)
                return .beginList
            case YAML_SEQUENCE_END_EVENT: return .endList
            case YAML_MAPPING_START_EVENT:
                try refuse(event.data.mapping_start.anchor, event.data.mapping_start.tag)
                return .beginMapping
            case YAML_MAPPING_END_EVENT: return .endMapping
            case YAML_SCALAR_EVENT:
                try refuse(event.data.scalar.anchor, event.data.scalar.tag)
                return .scalar(try scalar(event.data.scalar.value, event.data.scalar.length, event.data.scalar.style))
            default: continue
            }
        }
    }

    private func scalar(
        _ value: UnsafeMutablePointer<yaml_char_t>?, _ length: Int, _ style: yaml_scalar_style_t
    ) throws(CheckpointError) -> SettingsFile.Scalar {
        let bytes = UnsafeBufferPointer(start: value, count: value == nil ? 0 : length)
        if bytes.contains(0) { throw malformed("a value with the character 0") }
        return SettingsFile.Scalar(
            text: String(decoding: bytes, as: UTF8.self), isPlain: style == YAML_PLAIN_SCALAR_STYLE)
    }

    /// Throws for an anchor or a tag.
    private func refuse(
        _ anchor: UnsafeMutablePointer<yaml_char_t>?, _ tag: UnsafeMutablePointer<yaml_char_t>?
    ) throws(CheckpointError) {
        if anchor != nil { throw malformed("an anchor (&) is not taken; write the value out") }
        if tag != nil { throw malformed("a tag (!) is not taken; write the value alone") }
    }
}
