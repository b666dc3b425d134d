import Adapters
import CheckpointIO

/// What a new adapter is asked to be, by the keys of `MethodOption`; what is not given is the preset's or the method's
/// default.
public struct MethodOptions: Sendable, Equatable {
    /// The options that were given, with their values as `MethodOption.form` says.
    package private(set) var values = JSONObject()

    /// All defaults.
    public init() {}

    /// The value of an option; nil for one that is not given.
    package subscript(key: String) -> JSONValue? {
        get { values[key] }
        set { values[key] = newValue }
    }

    /// Every option of any method, once, in the table's order.
    package static let all: [MethodOption] = {
        var all: [MethodOption] = []
        for option in AdapterKind.allCases.flatMap({ $0.settings.options })
        where !all.contains(where: { $0.key == option.key }) {
            all.append(option)
        }
        return all
    }()

    /// The methods that have the option `key`.
    package static func owners(of key: String) -> [AdapterKind] {
        AdapterKind.allCases.filter { $0.settings.options.contains { $0.key == key } }
    }

    /// The options that were given, in the table's order.
    package var given: [MethodOption] { Self.all.filter { values[$0.key] != nil } }

    /// The settings of a new adapter of `kind`.
    ///
    /// Throws `WorkflowError.foreignOption` for an option of another method, `.twoNames` for two names of one number
    /// with different values, and `AdapterError` for values that cannot be.
    func settings(
        for kind: AdapterKind, _ preset: Preset?, targets: TargetSpecification
    ) throws -> any MethodSettings {
        for key in values.members.map(\.key) where !Self.all.contains(where: { $0.key == key }) {
            throw WorkflowError.unknownName(
                what: "option of a method", found: key, known: kind.settings.options.map(\.key))
        }
        for option in given {
            guard let own = kind.settings.options.first(where: { $0.key == option.key }) else {
                throw WorkflowError.foreignOption(
                    option.key, owners: Self.owners(of: option.key).map(\.name), method: kind.name)
            }
            guard let other = own.sameAs, let value = values[own.key], let otherValue = values[other] else { continue }
            if value != otherValue {
                throw WorkflowError.twoNames(
                    other, value: otherValue.text(), other: own.key, otherValue: value.text())
            }
        }
        var all = values
        all[MethodOption.targetsKey] = targets.json
        return try kind.settings.init(options: FieldReader(all, file: "the options"), paper: preset?.numbers)
    }
}
