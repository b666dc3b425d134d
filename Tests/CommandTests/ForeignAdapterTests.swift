import CheckpointIO
import Foundation
import TensorCore
import TestSupport
import Testing

/// Adapters and bases that are not what a command takes them for: each message names what they are.
@Suite struct ForeignAdapterTests {
    /// Rewrites an adapter's directory: other fields, further tensors, other numbers at some places.
    private func rewrite(
        _ source: String, to target: String, fields: JSONObject = [:],
        adding: [(name: String, shape: [Int], values: [Float])] = [], spoiling: [(ending: String, value: Float)] = []
    ) throws {
        try FileManager.default.copyItem(atPath: source, toPath: target)
        let configuration = target + "/adapter_config.json"
        var object = try #require(JSONValue.parse(try readFile(configuration)).objectValue)
        for (name, value) in fields.members { object[name] = value }
        try writeFile(configuration, JSONValue.object(object).text())
        let file = try SafetensorsFile.open(source + "/adapter_model.safetensors")
        let tensors = try file.tensors.map { record -> (name: String, shape: [Int], values: [Float]) in
            var values = try file.floats(of: record)
            for change in spoiling where record.name.hasSuffix(change.ending) { values[0] = change.value }
            return (record.name, record.shape, values)
        }
        try SafetensorsWriter.write(
            tensors + adding,
            to: AtomicFileWriter(OutputTarget(target + "/adapter_model.safetensors", replacing: true)))
    }

    private static let score: (name: String, shape: [Int], values: [Float]) = (
        "base_model.model.score.weight", [3, 192], (0..<576).map { Float($0 % 7) / 16 }
    )

    /// An adapter of a classifier of sequences, as peft writes it: it lists both names that such heads have.
    private func makeClassifier(in folder: String, type: JSONValue = .string("SEQ_CLS")) throws {
        let made = try Program(folder: folder).run(["inject", TinyRun.base, "--method", "lora", "-o", "plain"])
        #expect(made.status == 0)
        let heads = type.isNull ? ["score"] : ["classifier", "score"]
        try rewrite(
            folder + "/plain", to: folder + "/classifier",
            fields: ["task_type": type, "modules_to_save": .array(heads.map { .string($0) })],
            adding: [Self.score])
        try FileManager.default.removeItem(atPath: folder + "/classifier/tspeft.json")
    }

    /// It scores whole texts: records of a language model are none for it, and it writes none.
    @Test func classifierIsNamedAsOneWhereALanguageModelIsRun() throws {
        try withTemporaryFolder { folder in
            try makeClassifier(in: folder)
            let records = try TinyRun.shared.get().path("records.json")
            let train = ["train", TinyRun.base, "--adapter", "classifier", "--data", records, "-o", "out"]
            let others =
                "records.json, line 1: the record has the fields 'prompt', 'completion', 'answer', 'choices'; needed"
            for (arguments, status, words) in [
                (train, 65, others), (train + ["--dry-run"], 65, others),
                (["eval", TinyRun.base, "--adapter", "classifier", "--data", records], 65, others),
                (
                    ["generate", TinyRun.base, "--adapter", "classifier", "-p", "a"], 69,
                    "classifier: it has a head for sequences and gives no text"
                ),
                (
                    ["inject", TinyRun.base, "--from-peft", "classifier", "-o", "out"], 69,
                    "classifier: it is an adapter for the classification of sequences (task_type SEQ_CLS, head score), "
                        + "and the base runs as a causal language model"
                ),
            ] {
                let outcome = try Program(folder: folder).run(arguments)
                #expect(outcome.status == status && outcome.errorLines.count == 1, "\(arguments)")
                #expect(outcome.errors.contains(words), "\(outcome.errors)")
                #expect(try names(in: folder) == ["classifier", "plain"])
            }
        }
    }

    @Test func classifierIsMergedWithWordsOnHowToOpenIt() throws {
        try withTemporaryFolder { folder in
            try makeClassifier(in: folder)
            let program = Program(folder: folder)
            let merged = try program.run(["merge", TinyRun.base, "--adapter", "classifier", "-o", "merged"])
            #expect(merged.status == 0)
            #expect(
                merged.output.contains(
                    "config.json names LlamaForCausalLM still; open it with "
                        + "AutoModelForSequenceClassification.from_pretrained(..., num_labels=3)"), "\(merged.output)")
            let placed = try program.run(["inspect", "classifier", "--against", TinyRun.base])
            #expect(placed.status == 0 && placed.output.contains("config.json names LlamaForCausalLM still"))
            let shown = try program.run(["inspect", "classifier"])
            #expect(shown.output.contains("the classification of sequences (task_type SEQ_CLS, head score)"))
        }
    }

    @Test func headTellsWhereNoTypeDoes() throws {
        try withTemporaryFolder { folder in
            try makeClassifier(in: folder, type: .null)
            let outcome = try Program(folder: folder).run(
                ["generate", TinyRun.base, "--adapter", "classifier", "-p", "a"])
            #expect(outcome.status == 69 && outcome.errors.contains("an adapter for classification (head score)"))
        }
    }

    @Test func inspectionCountsWhatIsNotFiniteInEveryTensor() throws {
        try withTemporaryFolder { folder in
            let tuned = try TinyRun.shared.get().path("tuned")
            let (tau, b) = ("layers.0.self_attn.q_proj.tau", "layers.1.self_attn.v_proj.lora_B.weight")
            try rewrite(tuned, to: folder + "/bad", spoiling: [(tau, .nan), (b, -.infinity)])
            let program = Program(folder: folder)
            let plain = try program.run(["inspect", "bad"])
            #expect(plain.status == 0 && plain.errors.isEmpty)
            #expect(plain.output.contains("1 NaN, 1 infinite in "), "\(plain.output)")
            #expect(!plain.output.contains("nan to"))
            let figures = try program.run(["inspect", "bad", "--stats", "--checksum", "--json"])
            #expect(figures.status == 0)
            let value = try JSONValue.parse(Array(figures.output.utf8))
            let table = try #require(value["tensor_table"]?.arrayValue)
            func count(_ ending: String, _ kind: String) -> Int? {
                table.first { $0["name"]?.stringValue?.hasSuffix(ending) ?? false }?["statistics"]?[kind]?.intValue
            }
            #expect(count(tau, "nan") == 1 && count(tau, "finite") == 0 && count(b, "inf") == 1)
            #expect(table.reduce(0) { $0 + ($1["statistics"]?["nan"]?.intValue ?? 0) } == 1)
            #expect(value["not_finite"]?.arrayValue?.count == 2)
            // What would use the numbers refuses them, by name.
            for arguments in [["rank-modules", "bad"], ["merge", TinyRun.base, "--adapter", "bad", "-o", "out"]] {
                let outcome = try program.run(arguments)
                #expect(outcome.status == 65 && outcome.errors.contains("holds a NaN or infinity"), "\(outcome.errors)")
            }
        }
    }

    /// A safetensors file of zeros.
    private func writeZeros(_ entries: [SafetensorsEntry], to path: String) throws {
        let writer = try SafetensorsWriter(AtomicFileWriter(OutputTarget(path)), entries: entries, metadata: [])
        for entry in entries {
            try [UInt8](repeating: 0, count: entry.byteCount).withUnsafeBytes { try writer.append($0) }
        }
        try writer.finish()
    }

    /// As `mlx_lm.convert -q` writes the tiny model: eight numbers of 4 bits in a word, scales and biases beside it; with
    /// or without what its config.json says of that.
    private func makeMLXBase(in folder: String, says: Bool) throws {
        let base = try Checkpoint.open(TinyRun.base)
        var entries: [SafetensorsEntry] = []
        for record in base.tensors {
            guard record.shape.count == 2 else {
                entries.append(SafetensorsEntry(name: record.name, dtype: .bf16, shape: record.shape))
                continue
            }
            let (rows, columns) = (record.shape[0], record.shape[1])
            let stem = record.name.dropLast("weight".count)
            entries.append(SafetensorsEntry(name: record.name, dtype: .u32, shape: [rows, columns / 8]))
            for name in ["scales", "biases"] {
                entries.append(SafetensorsEntry(name: stem + name, dtype: .bf16, shape: [rows, columns / 64]))
            }
        }
        try FileManager.default.createDirectory(atPath: folder + "/mlx", withIntermediateDirectories: true)
        try writeZeros(entries, to: folder + "/mlx/model.safetensors")
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            try FileManager.default.copyItem(atPath: TinyRun.base + "/" + name, toPath: folder + "/mlx/" + name)
        }
        guard says else { return }
        var fields = try #require(base.configuration?.objectValue)
        for key in ["quantization", "quantization_config"] {
            fields[key] = .object(["group_size": .integer(64), "bits": .integer(4)])
        }
        try writeFile(folder + "/mlx/config.json", JSONValue.object(fields).text())
    }

    @Test(arguments: [true, false]) func weightsThatMLXPackedAreBlamedAndNotTheAdapter(says: Bool) throws {
        try withTemporaryFolder { folder in
            try makeMLXBase(in: folder, says: says)
            let program = Program(folder: folder)
            #expect(try program.run(["inject", TinyRun.base, "--method", "lora", "-o", "plain"]).status == 0)
            let records = try TinyRun.shared.get().path("records.json")
            for arguments in [
                ["merge", "mlx", "--adapter", "plain", "-o", "out"], ["inspect", "plain", "--against", "mlx"],
                ["inject", "mlx", "--from-peft", "plain", "-o", "out"],
                ["inject", "mlx", "--method", "lora", "--targets", "q_proj", "-o", "out"],
                ["export", "plain", "--to", "gguf-lora", "--base", "mlx", "-o", "out.gguf"],
                ["eval", "mlx", "--data", records], ["generate", "mlx", "-p", "a"],
                ["train", "mlx", "--adapter", "plain", "--data", records, "-o", "out"],
                ["convert", "mlx", "-o", "out.gguf"],
            ] {
                // Its fingerprint is not asked for.
                try? FileManager.default.removeItem(atPath: folder + "/plain/tspeft.json")
                let outcome = try program.run(arguments)
                #expect(outcome.status == 69 && outcome.errorLines.count == 1, "\(arguments): \(outcome.errors)")
                #expect(
                    outcome.errors.contains(says ? "MLX (4 bits, groups of 64)" : "MLX")
                        && outcome.errors.contains("take the model that it was made of"),
                    "\(arguments): \(outcome.errors)")
                #expect(!outcome.errors.contains("another model") && !outcome.errors.contains("unnamed"))
                #expect(try names(in: folder) == ["mlx", "plain"])
            }
            #expect(try program.run(["inspect", "mlx"]).status == 0)
        }
    }

    /// With `refs` and without, and from inside.
    @Test(arguments: ["models--some--thing", "models--some--thing/snapshots", "models--some--thing/"])
    func folderOfTheCacheIsToldFromAModelAndAnAdapter(_ named: String) throws {
        try withTemporaryFolder { folder in
            let inner = folder + "/models--some--thing/snapshots/0a1b2c"
            try FileManager.default.createDirectory(
                atPath: folder + "/models--some--thing/snapshots", withIntermediateDirectories: true)
            let program = Program(folder: folder)
            #expect(try program.run(["inject", TinyRun.base, "--method", "lora", "-o", inner]).status == 0)
            let records = try TinyRun.shared.get().path("records.json")
            for arguments in [
                ["inspect", named], ["merge", TinyRun.base, "--adapter", named, "-o", "out"],
                ["eval", TinyRun.base, "--adapter", named, "--data", records], ["eval", named, "--data", records],
                ["convert", named, "-o", "out.tspeft.zst"], ["convert", named, "-o", "out.gguf"],
                ["export", named, "--to", "peft", "-o", "out"], ["prune", named, "--keep", "1", "-o", "out"],
            ] {
                let outcome = try program.run(arguments)
                #expect([65, 66].contains(outcome.status) && outcome.errorLines.count == 1, "\(arguments)")
                #expect(
                    outcome.errors.contains("name a snapshot in it: models--some--thing/snapshots/0a1b2c"),
                    "\(arguments): \(outcome.errors)")
            }
        }
    }

    @Test func adapterThatIsNotThereIsSoughtAtTheHubByConvertToo() throws {
        try withTemporaryFolder { folder in
            let outcome = try Program(folder: folder).run(["convert", "some/adapter", "-o", "x.tspeft.zst"])
            #expect(outcome.status == 66 && outcome.errors.contains("hf download some/adapter"))
        }
    }
}
