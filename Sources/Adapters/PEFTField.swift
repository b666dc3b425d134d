import CheckpointIO

/// A field of an adapter's configuration: what it holds in a new file, and what of it this program can take.
package struct PEFTField: Sendable {
    /// What a field means to a reader that does not act on it.
    enum Effect: Sendable {
        /// `AdapterConfiguration` has a property for it.
        case understood
        /// It says where the adapter came from or how it started; what is stored computes the same.
        case harmless
        /// Any value but null, false and empty ones changes what the adapter computes.
        case changesResult(remedy: String?)
        /// Only these values leave the result as it is.
        case harmlessOnly([JSONValue], remedy: String?)
        /// Values other than null, false, empty ones and these add tensors that a merge can take up, and nothing else.
        case addsTensors(unless: [JSONValue])
    }

    package let name: String
    /// The value that peft writes by default; nil where a new file goes without the field.
    let initial: JSONValue?
    let effect: Effect

    var isUnderstood: Bool { if case .understood = effect { true } else { false } }

    /// What a user can do about a refused value.
    var remedy: String? {
        switch effect {
        case .understood, .harmless: nil
        case .changesResult(let remedy), .harmlessOnly(_, let remedy): remedy
        case .addsTensors: "such an adapter can be merged and inspected, but not trained or changed"
        }
    }

    /// Whether `value` leaves the result as it is, or adds to it what is taken as well.
    func accepts(_ value: JSONValue, takingExtras: Bool) -> Bool {
        switch effect {
        case .understood, .harmless: true
        case .changesResult: Self.isInert(value)
        case .harmlessOnly(let values, _): values.contains(value) || value.isNull
        case .addsTensors(let values): takingExtras || values.contains(value) || Self.isInert(value)
        }
    }

    /// Whether `value` is null, false or empty.
    package static func isInert(_ value: JSONValue) -> Bool {
        switch value {
        case .null, .bool(false): true
        case .string(let text): text.isEmpty
        case .array(let elements): elements.isEmpty
        case .object(let object): object.count == 0
        case .bool(true), .number: false
        }
    }

    /// A field of which any value but null, false and empty ones is refused.
    static func refused(
        _ name: String, _ initial: JSONValue = .null, remedy: String? = nil
    ) -> PEFTField {
        PEFTField(name: name, initial: initial, effect: .changesResult(remedy: remedy))
    }

    /// A field that adds tensors which can be merged.
    static func addsTensors(_ name: String, _ initial: JSONValue = .null) -> PEFTField {
        PEFTField(name: name, initial: initial, effect: .addsTensors(unless: [initial]))
    }

    /// A field that is written back as it was read.
    static func harmless(_ name: String, _ initial: JSONValue? = .null) -> PEFTField {
        PEFTField(name: name, initial: initial, effect: .harmless)
    }

    /// Fields that settings have properties for.
    static func understood(_ names: String...) -> [PEFTField] {
        names.map { PEFTField(name: $0, initial: .null, effect: .understood) }
    }

    /// What every kind's configuration has.
    static let common: [PEFTField] =
        understood("base_model_name_or_path", "modules_to_save", "peft_type", "target_modules", "task_type") + [
            harmless("auto_mapping"),
            harmless(PEFTNames.fanInFanOut, .bool(false)),
            harmless("inference_mode", .bool(true)),
            harmless(PEFTNames.versionField, nil),
            harmless("revision"),
            harmless("runtime_config", nil),
        ]

    /// What kinds have that know of trained biases.
    static let bias = addsTensors("bias", .string("none"))

    /// What selects modules beside the targets.
    static let selectors = understood(PEFTNames.excludedField, "layers_pattern", PEFTNames.layersField)
}
