import CheckpointIO

/// A kind of adapter update M(x), dense or gated: the table of what this program knows.
///
/// A further kind is one file, with its settings, its method and its entry, and the entry's name in `allCases`.
package struct AdapterKind: Sendable, Hashable, CaseIterable, CustomStringConvertible {
    /// Every kind.
    package static let allCases: [AdapterKind] = [lora, dora, adalora, adapter, vera, ia3]

    /// The name on the command line, such as `lora`.
    package let name: String
    /// What the kind can be set to, and all else about it.
    package let settings: any MethodSettings.Type

    /// An entry of the table.
    init(_ name: String, _ settings: any MethodSettings.Type) {
        self.name = name
        self.settings = settings
    }

    package static func == (left: AdapterKind, right: AdapterKind) -> Bool { left.name == right.name }

    package func hash(into hasher: inout Hasher) { hasher.combine(name) }

    package var description: String { name }

    /// How it computes.
    package var method: any AdapterMethod.Type { settings.method }

    /// The `peft_type` of a dense adapter of this kind.
    package var peftType: String { settings.peftType }

    /// The `peft_type` of a gated adapter of this kind, which peft refuses.
    package var gatedType: String { PEFTNames.gatedPrefix + settings.gatedType }

    /// The method's name on the command line, `lora` or `ts-lora`.
    package func methodName(gated: Bool) -> String { gated ? "ts-" + name : name }

    /// Every method's name.
    package static var methodNames: [String] {
        allCases.flatMap { [$0.methodName(gated: false), $0.methodName(gated: true)] }
    }

    /// The kind and gating that a method's name (`lora`, `ts-lora`, in any case) stands for; throws `.unknownMethod`.
    package static func named(_ method: String) throws(AdapterError) -> (kind: AdapterKind, isGated: Bool) {
        let name = method.lowercased()
        for kind in allCases {
            if name == kind.methodName(gated: false) { return (kind, false) }
            if name == kind.methodName(gated: true) { return (kind, true) }
        }
        throw .unknownMethod(method, known: methodNames)
    }

    /// The kind and gating of a `peft_type`, where kinds share one with the fields that tell them apart; throws
    /// `.unknownAdapterType`.
    static func ofPEFTType(
        _ type: String, _ fields: FieldReader
    ) throws(AdapterError) -> (kind: AdapterKind, isGated: Bool) {
        for kind in allCases {
            let sharedGatedType = PEFTNames.gatedPrefix + kind.peftType
            if type == kind.gatedType, type != sharedGatedType { return (kind, true) }
            if type == kind.peftType || type == sharedGatedType, try kind.settings.claims(fields) {
                return (kind, type != kind.peftType)
            }
        }
        var known: [String] = []
        for type in allCases.map(\.peftType) + allCases.map(\.gatedType) where !known.contains(type) {
            known.append(type)
        }
        throw .unknownAdapterType(file: fields.file, found: type, known: known)
    }
}
