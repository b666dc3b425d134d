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
                let spelling = alias.name.hasPrefix("-") ? alias.name : "--" + alias.name
                let found = try #require(try Translated(spelling, in: shape))
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
        ("train b --seed -1 --lr -1e-4", "train b --seed=-1 --learning-rate=-1e-4"),
        ("generate b -n -1 -p -x", "generate b --max-tokens=-1 -p -x"),
        ("generate b -p -- --json", "generate b -p -- --json"), ("generate b -n=5", "generate b --max-tokens=5"),
        ("train b --clip -.5 --warmup -3% --s -inf", "train b --clip=-.5 --warmup=-3% --s=-inf"),
        ("train b --data a --train-file b --data c", "train b --data a --data b --data c"),
        ("merge b --adapter a --lora b", "merge b --adapter a --adapter b"),
        ("train b --bf16 -o r", "train b --compute-type bf16 -o r"), ("train b --bf16 false -o r", "train b -o r"),
        ("train b --bf16=True", "train b --compute-type bf16"),
        ("train b --fp16 False --report_to none --load_in_4bit false --stage sft", "train b"),
        ("train b --eval_strategy steps --task-type CAUSAL_LM --bias=none", "train b"),
        ("train b --peft_type LORA --val-size 0.1", "train b --method lora --val-split 0.1"),
        ("generate -m b -f p.txt -t 4 -s 1 -n 5", "generate b --prompt-file p.txt --threads 4 --seed 1 -n 5"),
        ("generate b -cnv --repeat-penalty 1.1", "generate b --interactive --repetition-penalty 1.1"),
        ("generate b -ngl 0 --top_k 4", "generate b --top-k 4"), ("eval b --num-beams 4", "eval b --beams 4"),
        ("convert --hf-path b --mlx-path o", "convert b --output o"),
        ("eval b --json --json", "eval b --json --json"),
    ])
    func namesOfOtherProgramsBecomeOurs(_ given: String, _ expected: String) throws {
        #expect(try translated(given) == expected)
    }

    @Test(arguments: [
        ("train b --lr 1 --learning-rate 2", "--lr and --learning-rate are two names"),
        ("train b --learning_rate 1 --learning-rate 2", "--learning_rate and --learning-rate are two names"),
        ("train b --lr 1 --learning_rate 2", "--lr and --learning_rate are two names"),
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
        ("train b --lr 1 --lr 2", "--lr is given 2 times; train takes one"),
        ("train b --learning-rate 1 --learning-rate=2 --learning-rate 3", "--learning-rate is given 3 times"),
        ("train b -o x -o y", "-o is given 2 times"), ("train b -o x --output y", "-o and --output are two names"),
        ("generate b --seed 1 -s 2", "--seed and -s are two names"),
        ("eval b --adapter a --adapter b", "--adapter is given 2 times; eval takes one ('merge' adds several up)"),
        ("eval b --adapter a --lora b", "--adapter and --lora are two names"),
        ("generate b --chat-template a --chat-template b", "--chat-template is given 2 times"),
        ("inject b --rslora --use_rslora false", "--rslora and --use_rslora are two names"),
        ("train b --fp16", "--compute-type"), ("train b --fp16 true", "--compute-type"),
        ("train b --report-to wandb", "--tensorboard FOLDER"), ("train b --report_to tensorboard", "--tensorboard"),
        ("train b --gradient-checkpointing", "--batch-size"), ("train b --load_in_4bit true", "F32 or BF16"),
        ("train b --stage dpo", "sft"), ("train b --eval_strategy epoch", "--eval-every"),
        ("train b --peft_type LOHA", "no such method"), ("train b --peft_type=PREFIX_TUNING", "no such method"),
        ("generate b -ngl 99", "--threads"), ("generate b -c 4096", "positions"),
        ("generate b --ctx-size 4096", "positions"), ("generate b -hf org/model", "hf download"),
        ("generate b --batch-size 512", "leave it out"), ("convert b -q", "--type"),
    ])
    func whatDiffersIsRefusedByName(_ line: String, _ words: String) throws {
        let problem = try #require(refusal(line))
        #expect(problem.contains(words), "\(problem)")
        #expect(!problem.contains("\n"))
    }

    /// Every option with one value is refused when it is given twice, in every command; others are taken.
    @Test func oneRuleForOptionsGivenTwice() throws {
        for command in Self.commands {
            let shape = try #require(CommandShape(of: command))
            for option in shape.arguments where !option.isPositional && !["help", "version"].contains(option.name) {
                let spelling = option.longSpelling
                let once = option.isFlag ? [spelling] : [spelling, "1"]
                let line = ([command] + once + once).joined(separator: " ")
                let problem = refusal(line)
                if option.isFlag || option.isRepeating {
                    #expect(problem == nil, "\(problem ?? "")")
                } else {
                    let expected = "\(spelling) is given 2 times; \(command) takes one"
                    #expect(problem?.hasPrefix(expected) == true, "\(line)")
                }
                // Underscores do for hyphens, and a negative number is a value.
                let underscored = "--" + spelling.drop { $0 == "-" }.replacing("-", with: "_")
                let words = option.isFlag ? [underscored] : [underscored, "-1"]
                guard option.name != "config" else { continue }
                let expected = option.isFlag ? spelling : option.takesAnything ? "\(spelling) -1" : "\(spelling)=-1"
                let translated = try translated(([command] + words).joined(separator: " "))
                #expect(translated == "\(command) \(expected)" || translated == "\(command) \(spelling)=-1")
            }
        }
    }

    /// What no number can be is told with what can.
    @Test(arguments: [
        ("train b --data d -o r --seed -1", "--seed takes a whole number from 0 to 18446744073709551615, not '-1'"),
        ("train b --data d -o r --seed=1.5", "--seed takes a whole number from 0 to 18446744073709551615, not '1.5'"),
        ("train b --data d -o r --lr -1e-4", "--learning-rate must be 0 or more, not -0.0001"),
        ("train b --data d -o r --lr fast", "--learning-rate takes a number, not 'fast'"),
        ("train b --data d -o r --steps 1e3", "--steps takes a whole number, not '1e3'"),
        (
            "train b --data d -o r --steps 99999999999999999999",
            "--steps takes a whole number of at most 9223372036854775807, not '99999999999999999999'"
        ),
        ("train b --data d -o r --warmup many", "--warmup takes a count, or a share such as 5%, not 'many'"),
        ("train b --data d -o r --val-split -5%", "--val-split takes a count, or a share such as 5%, not '-5%'"),
        ("train b --data d -o r --rank -1", "rank"), ("train b --data d -o r --threads -2", "--threads"),
        ("train b --data d -o r --schedule square", "constant"),
        ("generate b -p x --seed -1", "--seed takes a whole number from 0"),
        ("generate b -p x -n -1", "--max-tokens must be at least 1, not -1"),
        ("generate b -p x --temperature -1", "temperature is -1.0"), ("generate b -p x --top-k -1", "--top-k must be"),
        ("eval b --data d --limit -1", "--limit must be at least 1"), ("demo --steps -1", "--steps"),
        ("train b --data d -o r --rank-pattern q_proj=1 --rank-pattern q_proj=2", "gives 'q_proj' twice"),
        ("generate b -p x --num-beam 4", "did you mean '--beams'?"),
        ("train b --num-train-epoch 4", "did you mean '--epochs'?"),
        ("export b -o e", "Missing expected argument '--to <to>', one of peft, mlx, gguf-lora, torch"),
        ("b train", "the command comes first: tspeft train"),
    ])
    func numbersAreWordedRight(_ line: String, _ words: String) throws {
        let places = [" b ": TinyRun.base, " d ": TinyRun.base + "/none"]
        let line = places.reduce(" " + line) { $0.replacing($1.key, with: " \($1.value) ") }
        try withTemporaryFolder { folder in
            let outcome = try Program(folder: folder).run(line.split(separator: " ").map(String.init))
            #expect(outcome.status == 64 && outcome.errorLines.count == 1, "\(line): \(outcome.errors)")
            #expect(outcome.errors.contains(words), "\(outcome.errors)")
        }
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
