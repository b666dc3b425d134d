import CheckpointIO

extension AdapterConfiguration {
    /// Reads the content of an `adapter_config.json`; `file` is its path for messages.
    ///
    /// A field that changes what an adapter computes and that this program does not implement is refused by name unless
    /// it holds its default; so is a field it does not know, unless that is null, false or empty.
    package init(json: JSONValue, file: String) throws(AdapterError) {
        guard let object = json.objectValue else {
            throw .malformed(file: file, what: "the content", expected: "a JSON object", found: "another JSON value")
        }
        let reader = FieldReader(object: object, file: file)
        guard let type = try reader.string("peft_type") else {
            throw .malformed(file: file, what: "'peft_type'", expected: "an adapter type", found: "nothing")
        }
        let (kind, isGated) = try AdapterKind.ofPEFTType(type, file: file)
        let other = try Self.otherFields(of: object, file: file)
        guard let targets = try reader.targets("target_modules", allowsAllLinear: true) else {
            throw .malformed(file: file, what: "'target_modules'", expected: "names or an expression", found: "null")
        }
        do {
            try self.init(
                kind: kind, isGated: isGated, rank: try reader.integer("r") ?? 8,
                alpha: try reader.number("lora_alpha") ?? 8, dropout: try reader.number("lora_dropout") ?? 0,
                usesRSLoRA: try reader.bool("use_rslora") ?? false, targets: targets,
                excluded: try reader.targets("exclude_modules", allowsAllLinear: false),
                rankPattern: try reader.integerPattern("rank_pattern"),
                alphaPattern: try reader.numberPattern("alpha_pattern"),
                layersToTransform: try reader.integers("layers_to_transform"),
                layersPattern: try reader.strings("layers_pattern") ?? [],
                taskType: try reader.string("task_type"),
                baseModelPath: try reader.string("base_model_name_or_path"), otherFields: other)
        } catch .badSetting(let name, let expected, let found) {
            throw .malformed(file: file, what: name, expected: expected, found: found)
        } catch .badExpression(let pattern, let reason) {
            throw .malformed(file: file, what: "'\(pattern)'", expected: "a regular expression", found: reason)
        }
    }

    /// The content of `adapter_config.json`: every field that peft 0.21 writes for this type.
    package var json: JSONValue {
        var fields = otherFields
        for field in PEFTField.all where fields[field.name] == nil && !field.isUnderstood {
            if let initial = field.initial { fields[field.name] = initial }
        }
        fields["peft_type"] = .string((isGated ? PEFTNames.gatedPrefix : "") + kind.peftType)
        fields["base_model_name_or_path"] = baseModelPath.map { .string($0) } ?? .null
        fields["task_type"] = taskType.map { .string($0) } ?? .null
        fields["r"] = .integer(rank)
        fields["lora_alpha"] = Self.number(alpha)
        fields["lora_dropout"] = .real(dropout)
        fields["use_rslora"] = .bool(usesRSLoRA)
        fields["target_modules"] = Self.json(of: targets)
        fields["exclude_modules"] = excluded.map { Self.json(of: $0) } ?? .null
        fields["layers_to_transform"] = layersToTransform.map { .array($0.map { .integer($0) }) } ?? .null
        fields["layers_pattern"] = layersPattern.isEmpty ? .null : .array(layersPattern.map { .string($0) })
        fields["rank_pattern"] = .object(Self.object(rankPattern) { .integer($0) })
        fields["alpha_pattern"] = .object(Self.object(alphaPattern) { Self.number($0) })
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

    private static func json(of targets: TargetSpecification) -> JSONValue {
        switch targets {
        case .allLinear: .string(TargetSpecification.allLinearName)
        case .expression(let pattern): .string(pattern)
        case .names(let names): .array(names.map { .string($0) })
        }
    }

    private static func object<Value>(
        _ entries: [PatternEntry<Value>], _ value: (Value) -> JSONValue
    ) -> JSONObject {
        entries.reduce(into: JSONObject()) { object, entry in
            if object[entry.pattern] == nil { object[entry.pattern] = value(entry.value) }
        }
    }

    /// Whole numbers without a point, as peft's integer alphas are.
    private static func number(_ value: Double) -> JSONValue {
        Int(exactly: value).map { .integer($0) } ?? .real(value)
    }

    private static func otherFields(of object: JSONObject, file: String) throws(AdapterError) -> JSONObject {
        var other = JSONObject()
        for (name, value) in object.members {
            if let field = PEFTField.named(name) {
                if field.isUnderstood { continue }
                guard field.accepts(value) else {
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

/// Reads typed fields of a configuration; null counts as absent.
private struct FieldReader {
    let object: JSONObject
    let file: String

    private func value(_ name: String) -> JSONValue? {
        object[name].flatMap { $0.isNull ? nil : $0 }
    }

    private func wrong(_ name: String, _ expected: String, _ found: JSONValue) -> AdapterError {
        .malformed(file: file, what: "'\(name)'", expected: expected, found: found.text())
    }

    func string(_ name: String) throws(AdapterError) -> String? {
        guard let value = value(name) else { return nil }
        guard let text = value.stringValue else { throw wrong(name, "a string", value) }
        return text
    }

    func bool(_ name: String) throws(AdapterError) -> Bool? {
        guard let value = value(name) else { return nil }
        guard let flag = value.boolValue else { throw wrong(name, "true or false", value) }
        return flag
    }

    func integer(_ name: String) throws(AdapterError) -> Int? {
        guard let value = value(name) else { return nil }
        guard let number = value.intValue else { throw wrong(name, "an integer", value) }
        return number
    }

    func number(_ name: String) throws(AdapterError) -> Double? {
        guard let value = value(name) else { return nil }
        guard let number = value.doubleValue, number.isFinite else { throw wrong(name, "a finite number", value) }
        return number
    }

    func strings(_ name: String) throws(AdapterError) -> [String]? {
        guard let value = value(name) else { return nil }
        if let text = value.stringValue { return text.isEmpty ? [] : [text] }
        let texts = value.arrayValue?.compactMap(\.stringValue)
        guard let texts, texts.count == value.arrayValue?.count else {
            throw wrong(name, "a string or a list of strings", value)
        }
        return texts
    }

    func integers(_ name: String) throws(AdapterError) -> [Int]? {
        guard let value = value(name) else { return nil }
        if let number = value.intValue { return [number] }
        let numbers = value.arrayValue?.compactMap(\.intValue)
        guard let numbers, numbers.count == value.arrayValue?.count else {
            throw wrong(name, "an integer or a list of integers", value)
        }
        return numbers
    }

    func targets(_ name: String, allowsAllLinear: Bool) throws(AdapterError) -> TargetSpecification? {
        guard let value = value(name) else { return nil }
        if let text = value.stringValue {
            if allowsAllLinear, text.lowercased() == TargetSpecification.allLinearName { return .allLinear }
            if text.isEmpty, !allowsAllLinear { return nil }
            // Compiled when it is matched: an adapter whose tensors name its modules can do without.
            return .expression(text)
        }
        let names = try strings(name) ?? []
        return names.isEmpty && !allowsAllLinear ? nil : .names(names)
    }

    func integerPattern(_ name: String) throws(AdapterError) -> [AdapterConfiguration.PatternEntry<Int>] {
        var entries: [AdapterConfiguration.PatternEntry<Int>] = []
        for (pattern, value) in try members(name) {
            guard let number = value.intValue else { throw wrong(name, "integers by module pattern", value) }
            entries.append(.init(pattern, number))
        }
        return entries
    }

    func numberPattern(_ name: String) throws(AdapterError) -> [AdapterConfiguration.PatternEntry<Double>] {
        var entries: [AdapterConfiguration.PatternEntry<Double>] = []
        for (pattern, value) in try members(name) {
            guard let number = value.doubleValue else { throw wrong(name, "numbers by module pattern", value) }
            entries.append(.init(pattern, number))
        }
        return entries
    }

    private func members(_ name: String) throws(AdapterError) -> [(key: String, value: JSONValue)] {
        guard let value = value(name) else { return [] }
        guard let object = value.objectValue else { throw wrong(name, "an object", value) }
        return object.members
    }
}
