import CheckpointIO
import TensorCore

extension AdapterConfiguration {
    /// Reads the content of an `adapter_config.json`; `file` is its path for messages.
    ///
    /// A field that changes what an adapter computes and that this program does not implement is refused by name unless
    /// it holds its default; so is a field it does not know, unless that is null, false or empty.
    ///
    /// - Parameter takingExtras: whether fields are taken that add tensors of another kind (`AdapterExtras`).
    package init(json: JSONValue, file: String, takingExtras: Bool = false) throws(AdapterError) {
        guard let object = json.objectValue else {
            throw .malformed(file: file, what: "the content", expected: "a JSON object", found: "another JSON value")
        }
        let reader = FieldReader(object, file: file)
        guard let type = try reader.string("peft_type") else {
            throw .malformed(file: file, what: "'peft_type'", expected: "an adapter type", found: "nothing")
        }
        let (kind, isGated) = try AdapterKind.ofPEFTType(type, reader)
        let other = try Self.otherFields(of: object, kind: kind, file: file, takingExtras: takingExtras)
        let hasParameters = !(other[PEFTNames.parametersField].map(PEFTField.isInert) ?? true)
        let read = try reader.targets("target_modules", allowsAllLinear: true)
        guard let targets = read ?? (hasParameters ? .names([]) : nil) else {
            throw .malformed(file: file, what: "'target_modules'", expected: "names or an expression", found: "null")
        }
        do {
            try self.init(
                try kind.settings.init(reading: reader), isGated: isGated, targets: targets,
                excluded: try reader.targets(PEFTNames.excludedField, allowsAllLinear: false),
                modulesToSave: try reader.strings("modules_to_save") ?? [],
                layersToTransform: try reader.integers(PEFTNames.layersField),
                layersPattern: try reader.strings("layers_pattern") ?? [])
        } catch .badSetting(let name, let expected, let found) {
            throw .malformed(file: file, what: name, expected: expected, found: found)
        } catch .badExpression(let pattern, let reason) {
            throw .malformed(file: file, what: "'\(pattern)'", expected: "a regular expression", found: reason)
        }
        taskType = try reader.string("task_type")
        baseModelPath = try reader.string("base_model_name_or_path")
        otherFields = other
        guard hasParameters, !takingExtras else { return }
        do {
            try checkParameters()
        } catch .badSetting(let name, let expected, let found) {
            throw .malformed(file: file, what: name, expected: expected, found: found)
        }
    }

    /// The content of `adapter_config.json`: every field that peft 0.21 writes for this type.
    package var json: JSONValue {
        var fields = otherFields
        for field in kind.settings.fields where fields[field.name] == nil && !field.isUnderstood {
            if let initial = field.initial { fields[field.name] = initial }
        }
        fields["peft_type"] = .string(isGated ? kind.gatedType : kind.peftType)
        fields["base_model_name_or_path"] = baseModelPath.map { .string($0) } ?? .null
        fields["task_type"] = taskType.map { .string($0) } ?? .null
        fields["target_modules"] = targets.json
        fields["modules_to_save"] = modulesToSave.isEmpty ? .null : .array(modulesToSave.map { .string($0) })
        let selectors = kind.settings.selectorFields
        if excluded != nil || selectors.contains(PEFTNames.excludedField) {
            fields[PEFTNames.excludedField] = excluded?.json ?? .null
        }
        if layersToTransform != nil || selectors.contains(PEFTNames.layersField) {
            fields[PEFTNames.layersField] = layersToTransform.map { .array($0.map { .integer($0) }) } ?? .null
            fields["layers_pattern"] = layersPattern.isEmpty ? .null : .array(layersPattern.map { .string($0) })
        }
        for (name, value) in settings.fieldValues { fields[name] = value }
        return .object(fields)
    }

    /// The text of `adapter_config.json`, as peft lays it out: indent 2, keys sorted.
    ///
    /// The keys of a pattern keep their order even so: with more than one that matches a module, the first counts.
    package var jsonText: String {
        guard case .object(let fields) = json else { return "" }
        var sorted = JSONObject()
        for key in fields.keys.sorted() { sorted[key] = fields[key] }
        return JSONValue.object(sorted).text(indent: 2)
    }

    private static func otherFields(
        of object: JSONObject, kind: AdapterKind, file: String, takingExtras: Bool
    ) throws(AdapterError) -> JSONObject {
        var other = JSONObject()
        let fields = kind.settings.fields
        for (name, value) in object.members {
            if let field = fields.first(where: { $0.name.hasSameBytes(as: name) }) {
                if field.isUnderstood { continue }
                guard field.accepts(value, takingExtras: takingExtras) else {
                    throw .unsupportedField(file: file, field: name, value: value.text(), remedy: field.remedy)
                }
            } else if !PEFTField.isInert(value) {
                throw .unsupportedField(
                    file: file, field: name, value: value.text(),
                    remedy: "it is not a field of peft 0.21; take it out if it has no effect")
            }
            other[name] = value
        }
        return other
    }
}

extension TargetSpecification {
    /// As peft writes it.
    package var json: JSONValue {
        switch self {
        case .allLinear: .string(Self.allLinearName)
        case .expression(let pattern): .string(pattern)
        case .names(let names): .array(names.map { .string($0) })
        }
    }
}
