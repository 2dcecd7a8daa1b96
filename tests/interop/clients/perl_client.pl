# SOAP::Lite. What is read and written here is told in README.md.

use strict;
use warnings;
use JSON::PP;
use SOAP::Lite;

sub carry_out {
    my ($service, $command, @words) = @_;
    if ($command eq 'place') {
        return { call => $service->PlayOnPhone(@words) };
    }
    if ($command eq 'state') {
        my $info = $service->GetCallInfo(@words);
        return { state => $info->{CallState}, cause => $info->{EventCause} };
    }
    if ($command eq 'end') {
        $service->Disconnect(@words);
        return { ended => JSON::PP::true };
    }
    die "no such command: $command\n";
}

sub told_of {
    my ($fault) = @_;
    die $fault unless ref $fault && $fault->isa('SOAP::SOM');
    return {
        fault => {
            type => ref $fault,
            code => $fault->faultcode,
            text => $fault->faultstring,
            detail => $fault->faultdetail && $fault->faultdetail->{ExceptionType},
        }
    };
}

$| = 1;
my $service = SOAP::Lite->service($ARGV[0]);
$service->on_fault(sub {
    my ($service, $fault) = @_;
    die ref $fault ? $fault : $service->transport->status . "\n";
});
while (my $line = <STDIN>) {
    chomp $line;
    my $answer = eval { carry_out($service, split /\t/, $line) } || told_of($@);
    print encode_json($answer), "\n";
}
