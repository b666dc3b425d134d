import Adapters
import CheckpointIO
import Models
import Transforms
import TSPEFT

extension Inspection {
    /// What was found as JSON, for other programs; `kind` says which it is. Throws where tensors that the fingerprint
    /// needs cannot be unpacked.
    var json: JSONValue {
        get throws {
            switch self {
            case .checkpoint(let checkpoint): .object(try checkpoint.json())
            case .adapter(let adapter): .object(adapter.json)
            case .adapterFile(let adapter): .object(adapter.json)
            case .run(let run): .object(run.json)
            }
        }
    }
}

extension CheckpointFiles {
    fileprivate var json: JSONObject {
        [
            "path": .string(checkpoint.path),
            "layout": .string(checkpoint.layout == .gguf ? "gguf" : "huggingface"),
            "files": .array(
                checkpoint.files.indices.map { place in
                    var file: JSONObject = [
                        "name": .string(lastPathComponent(checkpoint.files[place])), "bytes": .integer(sizes[place]),
                    ]
                    switch headers[place] {
                    case .safetensors(let byteCount): file["header_bytes"] = .integer(byteCount)
                    case .gguf(let version, let alignment):
                        file["gguf_version"] = .integer(version)
                        file["alignment"] = .integer(alignment)
                    case nil: break
                    }
                    return .object(file)
                }),
            "tensors": .integer(checkpoint.tensors.count), "elements": .integer(elementCount),
            "types": .array(
                totals.map {
                    .object([
                        "type": .string($0.encoding), "tensors": .integer($0.tensors),
                        "elements": .integer($0.elements), "bytes": .integer($0.bytes),
                    ])
                }),
            "metadata": .array(metadata.map(\.json)),
        ]
    }
}

extension MetadataEntry {
    fileprivate var json: JSONValue {
        var entry: JSONObject = ["key": .string(key), "type": .string(type), "value": value]
        if omittedCount > 0 { entry["omitted"] = .integer(omittedCount) }
        return .object(entry)
    }
}

extension JSONObject {
    /// These members and those of `other` after them.
    fileprivate func adding(_ other: JSONObject) -> JSONObject {
        other.members.reduce(into: self) { $0[$1.key] = $1.value }
    }
}

extension CheckpointInspection {
    fileprivate func json() throws -> JSONObject {
        var object = (["kind": .string("checkpoint")] as JSONObject).adding(files.json).adding([
            "architecture": namedArchitecture.map { .string($0) } ?? .null,
            "parameters": parameterCount.map { .integer($0) } ?? .null,
            "model": try model.map { .object(try $0.json()) } ?? .null,
            "model_problem": modelProblem.map { .string(OptionWords.text($0)) } ?? .null,
        ])
        object["tokenizer"] =
            tokenizer.map { tokenizer in
                .object([
                    "tokens": .integer(tokenizer.vocabularySize),
                    "bos_token_id": tokenizer.bosTokenID.map { .integer(Int($0)) } ?? .null,
                    "eos_token_id": tokenizer.eosTokenID.map { .integer(Int($0)) } ?? .null,
                    "has_chat_template": .bool(tokenizer.chatTemplate != nil),
                    "chat_template_problem": tokenizer.chatTemplateProblem.map { .string($0) } ?? .null,
                ])
            } ?? .null
        object["tokenizer_problem"] = tokenizerProblem.map { .string(OptionWords.text($0)) } ?? .null
        if !merges.isEmpty { object["merges"] = .array(merges) }
        tensors?.add(to: &object)
        return object
    }
}

extension ModelCheckpoint {
    fileprivate func json() throws -> JSONObject {
        (architecture?.configuration.json ?? ["tied_embeddings": .bool(hasTiedHead)]).adding([
            "linear_modules": .array(
                linearModules.map {
                    .object([
                        "path": .string($0.path), "shape": .array([.integer($0.outputSize), .integer($0.inputSize)]),
                    ])
                }),
            "tensor_patterns": .array(patterns.map { .object($0.json) }),
            "unused_tensors": .array(unknownTensors.map { .string($0) }),
            "fingerprint": .string(try fingerprint().digest),
        ])
    }
}

extension TensorPattern {
    fileprivate var json: JSONObject {
        [
            "pattern": .string(pattern), "count": .integer(count), "shape": .array(shape.map { .integer($0) }),
            "type": .string(encoding), "bytes": .integer(byteCount),
            "role": role.map { .string($0.rawValue) } ?? .null, "transposed": .bool(isTransposed),
        ]
    }
}

extension ModelConfiguration {
    fileprivate var json: JSONObject {
        [
            "architecture": .string(architecture),
            "layers": .integer(layerCount),
            "hidden_size": .integer(hiddenSize),
            "intermediate_size": .integer(intermediateSize),
            "heads": .integer(headCount),
            "key_value_heads": .integer(keyValueHeadCount),
            "head_size": .integer(headSize),
            "positions": .integer(maximumPositions),
            "rms_norm_epsilon": .real(rmsNormEpsilon),
            "rotary_base": .real(rotaryBase),
            "rotary_scaling": rotaryScaling.json,
            "vocabulary_size": .integer(vocabularySize),
            "tied_embeddings": .bool(tiedEmbeddings),
            "attention_bias": .bool(hasAttentionBias),
            "mlp_bias": .bool(hasMLPBias),
        ]
    }
}

extension RotaryScaling {
    fileprivate var json: JSONValue {
        switch self {
        case .standard: .null
        case .linear(let factor): .object(["type": .string("linear"), "factor": .real(factor)])
        case .llama3(let factor, let low, let high, let original):
            .object([
                "type": .string("llama3"), "factor": .real(factor), "low_frequency_factor": .real(low),
                "high_frequency_factor": .real(high), "original_positions": .integer(original),
            ])
        case .dynamic(let factor): .object(["type": .string("dynamic"), "factor": .real(factor)])
        case .yarn(let yarn):
            .object([
                "type": .string("yarn"), "factor": .real(yarn.factor),
                "original_positions": .integer(yarn.originalPositions), "attention_factor": .real(yarn.attention),
            ])
        case .longrope(let long):
            .object([
                "type": .string("longrope"), "original_positions": .integer(long.originalPositions),
                "attention_factor": .real(long.attention),
            ])
        case .factors(let factors):
            .object(["type": .string("factors"), "factors": .array(factors.map { .real($0) })])
        }
    }
}

extension AdapterInspection {
    fileprivate var json: JSONObject {
        let configuration = adapter.configuration
        var object: JSONObject = [
            "kind": .string("adapter"), "path": .string(adapter.displayName),
            "method": .string(configuration.methodName), "gated": .bool(configuration.isGated),
            "rank": configuration.rank.map { .integer($0) } ?? .null,
            "alpha": configuration.settings.alpha.map { .real($0) } ?? .null,
            "dropout": .real(configuration.dropout),
            "rslora": .bool((configuration.settings as? any LowRankSettings)?.numbers.usesRSLoRA ?? false),
            "method_facts": .object(
                adapter.methodFacts.reduce(into: JSONObject()) { $0[$1.name] = .string($1.value) }),
            "targets": .string(configuration.targets.summary),
            "modules_to_save": .array(
                adapter.savedModules.map {
                    .object([
                        "tensor": .string($0.name), "shape": .array($0.shape.map { .integer($0) }),
                    ])
                }),
            "task": adapter.task.map { .string($0.evidence) } ?? .null,
            "not_finite": .array(
                notFinite.map {
                    .object([
                        "tensor": .string($0.tensor), "nan": .integer($0.figures.nanCount),
                        "inf": .integer($0.figures.infiniteCount),
                    ])
                }),
            "excluded": configuration.excluded.map { .string($0.summary) } ?? .null,
            "parameters": .integer(adapter.parameterCount + adapter.thresholds.count), "bytes": .integer(byteCount),
            "modules": .array(
                adapter.modules.map { module in
                    var entry: JSONObject = [
                        "module": .string(module),
                        "rank": configuration.rank(for: module).map { .integer($0) } ?? .null,
                        "scaling": .real(configuration.scaling(for: module)),
                    ]
                    if let tau = adapter.threshold(module) { entry["tau"] = .real(tau) }
                    if let statistics = adapter.statistics?[module] {
                        entry["sparsity"] = configuration.sparsity(of: statistics).map { .real($0) } ?? .null
                        entry["tokens"] = .integer(statistics.tokens)
                    }
                    return .object(entry)
                }),
            "base": .object([
                "path": configuration.baseModelPath.map { .string($0) } ?? .null,
                "fingerprint": adapter.base.map { .string($0.digest) } ?? .null,
            ]),
            "training": adapter.training ?? .null, "history": .array(adapter.history),
            "metadata": .array(metadata.map(\.json)),
        ]
        if configuration.isGated, let statistics = adapter.statistics {
            object["mean_sparsity"] = .real(configuration.meanSparsity(statistics.modules))
            object["statistics_source"] = .string(statistics.source)
        }
        if let step { object["checkpoint_step"] = .integer(step) }
        tensors?.add(to: &object)
        return object
    }
}

extension RunInspection {
    fileprivate var json: JSONObject {
        [
            "kind": .string("run"), "path": .string(path), "last_step": lastStep ?? .null,
            "last_evaluation": lastEvaluation ?? .null, "checkpoints": .array(checkpoints.map { .string($0) }),
        ]
    }
}

extension AdapterFileInspection {
    fileprivate var json: JSONObject {
        var object = (["kind": .string("adapter_file")] as JSONObject).adding(files.json).adding([
            "method": .string(facts.method), "architecture": facts.architecture.map { .string($0) } ?? .null,
            "alpha": facts.alpha.map { .real($0) } ?? .null, "base": facts.base.map { .string($0) } ?? .null,
            "modules": .array(
                facts.modules.map {
                    .object([
                        "module": .string($0.name), "rank": .integer($0.rank),
                        "shape": .array([.integer($0.outputSize), .integer($0.inputSize)]),
                    ])
                }),
            "other_tensors": .array(facts.otherTensors.map { .string($0) }),
        ])
        tensors?.add(to: &object)
        return object
    }
}
