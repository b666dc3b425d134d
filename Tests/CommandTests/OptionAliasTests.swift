import ArgumentParser
import Foundation
import TestSupport
import Testing

@testable import tspeft

/// Other programs' names of options.
@Suite struct OptionAliasTests {
    private static let commands = RootCommand.configuration.subcommands.compactMap { $0.configuration.commandName }

    private func translated(_ line: String) throws -> String {
        try CommandWords(line.split(separator: " ").map(String.init)).words.joined(separator: " ")
    }

    private func refusal(_ line: String) -> String? {
        do {
            _ = try translated(line)
            return nil
        } catch { return (error as? ValidationError)?.message ?? "\(error)" }
    }

    /// Each name means something in a command at least, and none where it would hide an option of ours.
    @Test func everyTargetExistsInItsCommand() throws {
        let shapes = Self.commands.compactMap(CommandShape.init(of:))
        #expect(shapes.count == Self.commands.count && shapes.count >= 11)
        #expect(OptionAlias.all.count > 80)
        for alias in OptionAlias.all {
            let own = shapes.filter { alias.commands?.contains($0.command) ?? true }
            if let commands = alias.commands { #expect(own.count == commands.count, "\(alias.name)") }
            let meant = own.filter { shape in
                if shape.option(alias.name) != nil { return false }
                return switch alias.meaning {
                case .option(let names): names.contains { shape.option($0) != nil }
                case .positional: shape.option("base") != nil || shape.positional != nil
                case .refused: true
                }
            }
            #expect(!meant.isEmpty, "\(alias.name) means nothing in any command")
            if let commands = alias.commands { #expect(meant.count == commands.count, "\(alias.name)") }
            for other in alias.notBeside.keys { #expect(own.contains { $0.option(other) != nil }, "\(other)") }
            #expect(!alias.name.contains("_"), "\(alias.name): hyphens stand for underscores too")
            for shape in meant {
                guard case .option = alias.meaning else { continue }
                let found = try #require(try Translated("--" + alias.name, in: shape))
                if case .flag = alias.conversion { #expect(found.target.isFlag) } else { #expect(!found.target.isFlag) }
            }
        }
        for shape in shapes {
            let names = OptionAlias.all.filter { $0.commands?.contains(shape.command) ?? true }.map(\.name)
            for name in Set(names) {
                let meanings = OptionAlias.all.filter {
                    guard $0.name == name, $0.commands?.contains(shape.command) ?? true else { return false }
                    if case .option(let targets) = $0.meaning { return targets.contains { shape.option($0) != nil } }
                    return true
                }
                #expect(meanings.count <= 1, "\(name) means two things in \(shape.command)")
            }
        }
    }

    @Test(arguments: [
        ("train b --lr 1e-3 -o r", "train b --learning-rate 1e-3 -o r"),
        ("train b --lr=1e-3", "train b --learning-rate 1e-3"),
        ("train b --learning_rate 1e-3", "train b --learning-rate 1e-3"),
        ("train b --num_train_epochs 2 --lora_r=4", "train b --epochs 2 --rank 4"),
        ("train --model b --data d", "train b --data d"),
        ("train --model_name_or_path=b --data d", "train b --data d"),
        ("export a --base-model b", "export a --base b"),
        ("train b --iters 100", "train b --steps 100"),
        ("train b --lr_scheduler_type constant_with_warmup", "train b --schedule constant"),
        ("train b --lr_scheduler_type cosine", "train b --schedule cosine"),
        ("train b --lora_target all", "train b --targets all-linear"),
        ("train b --target-modules q_proj,v_proj", "train b --targets q_proj,v_proj"),
        ("train b --per_device_train_batch_size 4", "train b --batch-size 4"),
        ("train b --gradient-accumulation-steps 2", "train b --accumulation 2"),
        ("train b --max_seq_length 64 --max-grad-norm 0", "train b --max-length 64 --clip 0"),
        ("train b --use_rslora true --lora-r 2", "train b --rslora --rank 2"),
        ("train b --use_rslora --lora-r 2", "train b --rslora --rank 2"),
        ("train b --use_rslora False --lora-r 2", "train b --rank 2"),
        ("train b --resume_from_checkpoint True", "train b --resume"),
        ("train b --no_shuffle", "train b --no-shuffle"),
        ("train b --max-steps -1", "train b --steps=-1"),
        ("generate b --temp 0.5 --max-new-tokens 8", "generate b --temperature 0.5 --max-tokens 8"),
        ("eval b --max-tokens 8", "eval b --max-new-tokens 8"),
        ("generate b --prompt --lr", "generate b --prompt --lr"),
        ("inject b --deltaT 3 --rank_pattern q_proj=2", "inject b --deltaT 3 --rank-pattern q_proj=2"),
        ("merge b --adapter_path a --output-dir o", "merge b --adapter a --output o"),
        ("train b -- --lr", "train b -- --lr"),
    ])
    func namesOfOtherProgramsBecomeOurs(_ given: String, _ expected: String) throws {
        #expect(try translated(given) == expected)
    }

    @Test(arguments: [
        ("train b --lr 1 --learning-rate 2", "--lr and --learning-rate are two names"),
        ("train b --learning_rate 1 --learning-rate 2", "--learning_rate and --learning-rate are two names"),
        ("train b --lr 1 --learning_rate 2", "--learning_rate and --lr are two names"),
        ("train b --output-dir x -o y", "--output-dir and -o are two names"),
        ("train b --iters 5 --accumulation 2", "counts passes"),
        ("train b --iters 5 --gradient-accumulation-steps 2", "counts passes"),
        ("train b --gradient-accumulation-steps 2 --iters 5", "counts passes"),
        ("train b --scale 20", "give --alpha"), ("train b --num-layers 8", "--layers"),
        ("train b --use_dora true", "--method dora"), ("train b --adapter-path a", "mlx-lm writes there"),
        ("train b --finetuning_type full", "only adapters are trained"),
        ("train b --resume_from_checkpoint run/checkpoint-5", "name the run's directory"),
        ("train b --use_rslora=maybe", "true or false"), ("train b --dataset alpaca", "--data"),
        ("train b --optim adamw_torch", "AdamW"),
    ])
    func whatDiffersIsRefusedByName(_ line: String, _ words: String) throws {
        let problem = try #require(refusal(line))
        #expect(problem.contains(words), "\(problem)")
        #expect(!problem.contains("\n"))
    }

    @Test func theProgramTakesThemAndDoesNotShowThem() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            let outcome = try program.run([
                "train", "--model_name_or_path", TinyRun.base, "--train_file", run.path("records.json"), "--lora_r=2",
                "--iters", "2", "--per_device_train_batch_size", "2", "--threads", "1", "--output_dir", "run",
            ])
            #expect(outcome.status == 0, "\(outcome.errors)")
            let twice = try program.run(["generate", TinyRun.base, "-p", "a", "--temp", "1", "--temperature", "1"])
            #expect(twice.status == 64 && twice.errorLines.count == 1)
            #expect(twice.errors.contains("two names of one option"))
            let unknown = try program.run(["generate", TinyRun.base, "-p", "a", "--temprature", "1"])
            #expect(unknown.status == 64 && unknown.errors.contains("--temprature"))
            let help = try program.run(["train", "--help"]).output
            for name in ["--lr ", "--lora-r ", "--num-epochs"] { #expect(!help.contains(name)) }
        }
    }
}
