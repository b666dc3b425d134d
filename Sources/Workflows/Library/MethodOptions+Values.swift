import Adapters
import CheckpointIO

/// `request.options = ["rank": 8, "alpha": 16]`. Keys are peft's names where it has one; of a key that is given twice the
/// last counts. A key that no method has, one of another method and a value of the wrong kind are refused by `inject`.
extension MethodOptions: ExpressibleByDictionaryLiteral {
    /// The value of an option; a literal of its kind stands for it.
    public enum Value: Sendable {
        /// Whether something is so.
        case flag(Bool)
        /// A whole number.
        case integer(Int)
        /// A number.
        case number(Double)
        /// A word.
        case text(String)
        /// Values by module pattern, the first that matches counts.
        case byModule([(pattern: String, value: Value)])

        var json: JSONValue {
            switch self {
            case .flag(let value): .bool(value)
            case .integer(let value): .integer(value)
            case .number(let value): .real(value)
            case .text(let value): .string(value)
            case .byModule(let values):
                .object(values.reduce(into: JSONObject()) { object, pair in object[pair.pattern] = pair.value.json })
            }
        }
    }

    /// Every option's key, of any method.
    public static var keys: [String] { all.map(\.key) }

    /// Options by their keys.
    public init(dictionaryLiteral elements: (String, Value)...) {
        self.init()
        for (key, value) in elements { set(key, to: value) }
    }

    /// Gives the option `key` a value, in place of the one that it had.
    public mutating func set(_ key: String, to value: Value) {
        self[key] = value.json
    }
}

extension MethodOptions.Value: ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByStringLiteral, ExpressibleByDictionaryLiteral
{
    /// A flag.
    public init(booleanLiteral value: Bool) { self = .flag(value) }
    /// A whole number.
    public init(integerLiteral value: Int) { self = .integer(value) }
    /// A number.
    public init(floatLiteral value: Double) { self = .number(value) }
    /// A word.
    public init(stringLiteral value: String) { self = .text(value) }
    /// Values by module pattern.
    public init(dictionaryLiteral elements: (String, MethodOptions.Value)...) {
        self = .byModule(elements.map { (pattern: $0.0, value: $0.1) })
    }
}
